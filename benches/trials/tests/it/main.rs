//! Campaigns on real processes: somebody else's catalogue, and an interruption.

mod campaigns;
