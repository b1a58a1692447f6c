//! The x402 rail family.
//!
//! | question | where it is decided |
//! |---|---|
//! | how a payment is read, and what it burns | [`payment`], [`eip3009`], [`permit2`] |
//! | which offer it answers, whether its terms fit | [`check`] |
//! | what is charged of a ceiling | [`metering`] |
//! | what a facilitator's answer means | [`facilitator`], [`supported`] |
//! | what became of a payment nobody can tell the outcome of | [`chain`] |
//! | how Coinbase's facilitator knows us | [`cdp`] |
//! | what challenge and settlement look like on the wire | [`wire`] |
//! | what version 1 clients see and send | [`v1`] |
//! | what a seller signs of offers and settlements | [`offer_receipt`] |
//! | what an offer may say | [`offer`], [`price`], [`assets`] |

pub mod address;
pub mod assets;
pub mod cdp;
pub mod chain;
pub mod check;
pub mod eip3009;
pub mod facilitator;
pub mod metering;
pub mod offer;
pub mod offer_receipt;
pub mod payment;
pub mod permit2;
pub mod price;
pub mod supported;
pub mod v1;
pub mod wire;
