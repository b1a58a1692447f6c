//! The buyer as a whole.

mod attacks;
mod dropping;
mod facade;
mod fetching;
mod hostile;
mod keeping;
mod kit;
mod mall;
mod payments;
mod properties;
mod receipts;
mod remembering;
mod tokens;
