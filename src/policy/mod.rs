//! What the module decides about its server: pure functions and values, with time and the server's answers as arguments.
//!
//! The rules of a lock are in [`crate::lock`]. Here is what they do not know of: the server around them.
//!
//! * [`role`]: whether this server decides, and whose effects it applies.
//! * [`caller`]: whether a client, a script or another module runs a command; [`client_list`]: what CLIENT LIST says of a
//!   client.
//! * [`users`]: the numbers of ACL users, and whether a user may still ask for a lock.
//! * [`delivery`]: when a grant counts as delivered.
//! * [`propagation`]: whether anybody listens to what is replicated.
//! * [`removals`]: who removed a lock that is gone.
//! * [`slot_owner`]: which server a slot of a cluster belongs to.

#![forbid(unsafe_code)]

pub mod caller;
pub mod client_list;
pub mod delivery;
pub mod propagation;
pub mod removals;
pub mod role;
pub mod slot_owner;
pub mod users;
