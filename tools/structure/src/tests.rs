//! Tests with small source trees.
