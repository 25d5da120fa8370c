//! Connections to servers: how they are opened, shared, watched and given up, and which server has a key.
//!
//! | module | owns |
//! |---|---|
//! | `address` | host and port, and URLs |
//! | `events` | what servers report: changes of locks, and lost connections |
//! | `link` | one connection |
//! | `dial` | opening a connection |
//! | `single_flight` | work that is done once for all who wait for it |
//! | `node` | the connections to one server |
//! | `directory` | which server has a key |
//! | `slots` | the slots of a cluster |
//! | `supervise` | servers that do not answer |
//! | `endpoint` | sending a command until it is answered |

pub(crate) mod address;
pub(crate) mod dial;
pub(crate) mod directory;
pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod single_flight;
pub(crate) mod slots;
pub(crate) mod supervise;
