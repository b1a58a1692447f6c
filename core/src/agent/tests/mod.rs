//! The buyer as a whole.

mod attacks;
mod facade;
mod fetching;
mod hostile;
mod kit;
mod payments;
mod properties;
