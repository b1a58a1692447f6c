//! The npm package's agent: pays our gate and official servers, refuses what means ill, and forgets nothing when it is
//! killed.

mod crash;
mod hostile;
mod methods;
mod pace;
mod pays;
mod shared;

pub use crash::{Crashes, crashes};
pub use hostile::{Refusals, hostile, one_of_fifty};
pub use methods::methods;
pub use pace::{EnginePace, Pace, engine_pace, pace};
pub use pays::{Payments, gate_in_envoy, gate_in_workerd, officials, wallets};
pub use shared::{Shared, processes, workers};
