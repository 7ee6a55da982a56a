//! Clients that behave badly: slow ones, ones that flood, ones that never read.

mod flood;
mod lazy;
mod slow;

pub use flood::Flood;
pub use lazy::LazyReader;
pub use slow::{Manner, Pace};
