//! Ours against ours.
