//! How a candidate comes to its traffic.

use std::fmt;
use std::str::FromStr;

use prophecy_core::system::Span;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// All of the traffic, in the parts that weights are counted in: a thousandth of a percent each.
pub const WHOLE: u32 = 100_000;

/// How a candidate comes to its traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Strategy {
    /// All at once, without a comparison; only health is watched.
    Immediate,
    /// Instance by instance of the entry: each takes its share of the traffic when it is ready.
    Rolling {
        /// Instances per step.
        batch: u32,
    },
    /// Everything beside what runs, then one switch; the old side stays warm.
    BlueGreen,
    /// Growing shares of the traffic, each compared with a fresh baseline.
    Canary {
        /// The share at each step.
        steps: Vec<Weight>,
    },
    /// Copies of requests only; answers are compared and dropped, nobody gets one.
    Shadow {
        /// The share of requests that is copied.
        share: Weight,
    },
    /// A fixed group gets the candidate until a sequential test decides.
    Ab {
        /// The share of clients, by the hash of a cookie; without `select`.
        share: Weight,
        /// Who is in the group, instead of a share.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        select: Option<Select>,
    },
}

/// Who belongs to a group: a header or a cookie with a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// A request header and its value.
    Header(String, String),
    /// A cookie and its value.
    Cookie(String, String),
}

/// A share of the traffic, in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Weight(u32);

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its place, from 0.
    pub index: u32,
    /// What the candidate gets of the traffic.
    pub weight: Weight,
    /// What a fresh copy of the running build gets, to be compared with.
    pub control: Weight,
    /// The share of requests that is copied to the candidate.
    pub mirrored: Weight,
    /// Instances of the entry that take traffic, if not all.
    pub instances: Option<u32>,
    /// How long it is observed at least.
    pub observe: Span,
    /// Whether the arms are compared before the next step.
    pub compared: bool,
    /// Whether somebody has to say so before the step begins.
    pub confirm: bool,
}

/// Why a share was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{found}` is not a share of the traffic; expected 0% to 100% in steps of 0.001%")]
pub struct ParseWeightError {
    found: String,
}

/// Why the steps of a strategy were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StagesError {
    /// A canary without steps.
    #[error("a canary needs at least one step")]
    NoStep,
    /// Steps do not grow.
    #[error("step {index} has {found}, which is not more than the {before} before it")]
    NotGrowing {
        /// Which step, from 1.
        index: usize,
        /// Its share.
        found: Weight,
        /// The share before.
        before: Weight,
    },
    /// A share of nothing.
    #[error("a {strategy} rollout of 0 % of the traffic shows nothing")]
    Nothing {
        /// The strategy.
        strategy: &'static str,
    },
    /// Instances in batches of nothing.
    #[error("a rolling update needs batches of at least one instance")]
    EmptyBatch,
}

// === impl Weight ===

impl Weight {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(WHOLE);

    /// Returns a weight of some thousandths of a percent; more than all is all.
    pub fn of_parts(parts: u32) -> Self {
        Self(parts.min(WHOLE))
    }

    /// Returns the thousandths of a percent.
    pub fn parts(self) -> u32 {
        self.0
    }

    /// Returns what is left of the whole.
    pub fn rest(self) -> Self {
        Self(WHOLE - self.0)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / 1_000, self.0 % 1_000);
        if parts == 0 {
            return write!(f, "{whole}%");
        }
        let text = format!("{parts:03}");
        write!(f, "{whole}.{}%", text.trim_end_matches('0'))
    }
}

impl FromStr for Weight {
    type Err = ParseWeightError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseWeightError { found: text.to_owned() };
        let number = text.trim().strip_suffix('%').unwrap_or(text.trim()).trim();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole)
            || whole.len() > 3
            || fraction.len() > 3
            || (number.contains('.') && !digits(fraction))
        {
            return Err(error());
        }
        let whole: u32 = whole.parse().map_err(|_| error())?;
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| error())?;
        let parts = whole * 1_000 + thousandths;
        if parts > WHOLE { Err(error()) } else { Ok(Self(parts)) }
    }
}

impl TryFrom<String> for Weight {
    type Error = ParseWeightError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Weight> for String {
    fn from(weight: Weight) -> Self {
        weight.to_string()
    }
}

// === impl Stage ===

impl Stage {
    /// Says whether a fresh copy of what runs has as much to do as the candidate.
    pub fn has_copy(&self) -> bool {
        self.control > Weight::ZERO && self.control == self.weight
    }
}

// === impl Strategy ===

impl Strategy {
    /// Returns the strategy's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Rolling { .. } => "rolling",
            Self::BlueGreen => "blue-green",
            Self::Canary { .. } => "canary",
            Self::Shadow { .. } => "shadow",
            Self::Ab { .. } => "a/b",
        }
    }

    /// Says whether a copy of the running build is started beside the candidate, so that both are
    /// equally young.
    pub fn has_control(&self) -> bool {
        matches!(self, Self::Canary { .. } | Self::Ab { .. })
    }

    /// Says whether a rollout that went well ends with the candidate in production.
    pub fn promotes(&self) -> bool {
        !matches!(self, Self::Shadow { .. })
    }

    /// Returns the steps before the candidate has everything.
    ///
    /// # Errors
    ///
    /// Each variant of [`StagesError`].
    pub fn stages(&self, observe: Span, instances: u32) -> Result<Vec<Stage>, StagesError> {
        let stage = |index: usize, weight, control| Stage {
            index: index as u32,
            weight,
            control,
            mirrored: Weight::ZERO,
            instances: None,
            observe,
            compared: true,
            confirm: false,
        };
        match self {
            Self::Immediate | Self::BlueGreen => Ok(Vec::new()),
            Self::Rolling { batch: 0 } => Err(StagesError::EmptyBatch),
            Self::Rolling { batch } => {
                let counts = (1..).map(|step| step * batch).take_while(|count| *count < instances);
                let stages = counts.enumerate().map(|(index, count)| {
                    let weight = Weight::of_parts(
                        (u64::from(WHOLE) * u64::from(count) / u64::from(instances)) as u32,
                    );
                    Stage { instances: Some(count), ..stage(index, weight, Weight::ZERO) }
                });
                Ok(stages.collect())
            }
            Self::Canary { steps } => {
                check_growing(steps)?;
                let below = steps.iter().filter(|weight| **weight < Weight::ALL);
                let stages = below.enumerate().map(|(index, weight)| {
                    // The control gets as much as the candidate, as long as there is as much left.
                    stage(index, *weight, (*weight).min(weight.rest()))
                });
                Ok(stages.collect())
            }
            Self::Shadow { share: Weight::ZERO } => {
                Err(StagesError::Nothing { strategy: "shadow" })
            }
            Self::Shadow { share } => {
                Ok(vec![Stage { mirrored: *share, ..stage(0, Weight::ZERO, Weight::ZERO) }])
            }
            Self::Ab { share: Weight::ZERO, select: None } => {
                Err(StagesError::Nothing { strategy: "a/b" })
            }
            Self::Ab { share, select } => {
                let (weight, control) = match select {
                    None => (*share, (*share).min(share.rest())),
                    Some(_) => (Weight::ZERO, Weight::ZERO),
                };
                Ok(vec![stage(0, weight, control)])
            }
        }
    }
}

fn check_growing(steps: &[Weight]) -> Result<(), StagesError> {
    let mut before = Weight::ZERO;
    for (index, found) in steps.iter().enumerate() {
        if *found <= before {
            return Err(StagesError::NotGrowing { index: index + 1, found: *found, before });
        }
        before = *found;
    }
    if steps.is_empty() { Err(StagesError::NoStep) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn weight(text: &str) -> Weight {
        text.parse().expect("a share")
    }

    fn minute() -> Span {
        Span(Duration::from_mins(1))
    }

    #[test]
    fn reads_shares_to_a_thousandth_of_a_percent() {
        let cases = [
            ("5%", 5_000),
            ("0.001%", 1),
            ("100%", WHOLE),
            ("12.5", 12_500),
            ("0%", 0),
            ("99.999%", 99_999),
        ];
        for (text, parts) in cases {
            assert_eq!(weight(text).parts(), parts, "{text}");
            assert_eq!(weight(&weight(text).to_string()).parts(), parts, "{text}");
        }
        for bad in ["", "%", "100.001%", "-1%", "1.2345%", "a", "1.%", ".5%", "1e3", "1000%"] {
            assert!(bad.parse::<Weight>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gives_the_control_as_much_as_is_left() {
        let steps = ["1%", "50%", "80%", "100%"].map(weight).to_vec();
        let stages = Strategy::Canary { steps }.stages(minute(), 1).expect("they grow");
        let shares: Vec<[String; 2]> =
            stages.iter().map(|it| [it.weight.to_string(), it.control.to_string()]).collect();
        assert_eq!(shares, [["1%", "1%"], ["50%", "50%"], ["80%", "20%"]]);
    }

    #[test]
    fn refuses_steps_that_do_not_grow() {
        let canary = |steps: &[&str]| {
            Strategy::Canary { steps: steps.iter().map(|it| weight(it)).collect() }
                .stages(minute(), 1)
                .map(|stages| stages.len())
        };
        assert_eq!(canary(&["5%", "20%"]), Ok(2));
        assert!(matches!(canary(&["5%", "5%"]), Err(StagesError::NotGrowing { index: 2, .. })));
        assert_eq!(canary(&[]), Err(StagesError::NoStep));
        assert!(canary(&["0%", "5%"]).is_err());
    }

    #[test]
    fn rolls_over_instances_in_batches() {
        let stages = Strategy::Rolling { batch: 2 }.stages(minute(), 5).expect("fits");
        let shares: Vec<(Option<u32>, String)> =
            stages.iter().map(|it| (it.instances, it.weight.to_string())).collect();
        assert_eq!(shares, [(Some(2), "40%".to_owned()), (Some(4), "80%".to_owned())]);
        assert!(Strategy::Rolling { batch: 1 }.stages(minute(), 1).expect("fits").is_empty());
    }
}
