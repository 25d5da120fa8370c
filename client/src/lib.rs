//! Distributed locks over the `LOCK.*` commands of the redis-lock module.
