//! What a HAProxy has to have before it can carry out a routing: what only another process can change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::super::routing::{Front, Routing};

/// Arms among which the traffic of an edge can be divided.
pub(super) const ARMS: usize = 4;

/// Listeners, arms and instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) gates: BTreeMap<String, Gate>,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gate {
    pub(super) listen: SocketAddr,
    /// Whether callers are clients.
    pub(super) is_entry: bool,
    /// Whether what callers meet is counted.
    pub(super) observed: bool,
    pub(super) answer_limit_ms: u64,
    /// Fields with values that can choose an arm.
    pub(super) rules: BTreeSet<(String, String)>,
    /// Where requests of each arm go; arms without an instance are left out.
    pub(super) arms: BTreeMap<String, BTreeSet<Server>>,
    /// The arm of what ran before.
    pub(super) last: String,
}

/// An instance that takes the requests of an arm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Server {
    /// Only if no instance of the arm itself does.
    pub(super) is_backup: bool,
    /// The arm that it belongs to.
    pub(super) arm: String,
    pub(super) address: SocketAddr,
}

// === impl Layout ===

impl Layout {
    /// Returns what a routing needs, or why HAProxy cannot carry it out.
    pub(super) fn of(routing: &Routing) -> Result<Self, String> {
        let gates =
            routing.fronts.iter().map(|(name, front)| Ok((name.clone(), gate(name, front)?)));
        Ok(Self { gates: gates.collect::<Result<_, String>>()? })
    }

    /// Says whether everything that another one has is here.
    pub(super) fn holds(&self, wanted: &Self) -> bool {
        wanted.gates.iter().all(|(name, wanted)| {
            self.gates.get(name).is_some_and(|gate| {
                gate.listen == wanted.listen
                    && gate.is_entry == wanted.is_entry
                    && gate.observed == wanted.observed
                    && gate.answer_limit_ms == wanted.answer_limit_ms
                    && gate.rules.is_superset(&wanted.rules)
                    && wanted.arms.iter().all(|(arm, servers)| {
                        gate.arms.get(arm).is_some_and(|known| known.is_superset(servers))
                    })
            })
        })
    }

    /// Returns the names of all servers.
    pub(super) fn servers(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (front, gate) in &self.gates {
            for (arm, servers) in &gate.arms {
                let of = |server: &Server| format!("{}/{}", backend(front, arm), server.name());
                names.extend(servers.iter().map(of));
            }
        }
        names
    }

    /// Says whether an edge has an arm.
    pub(super) fn has(&self, front: &str, arm: &str) -> bool {
        self.gates.get(front).is_some_and(|gate| gate.arms.contains_key(arm))
    }
}

// === impl Server ===

impl Server {
    /// Returns its name: which arm it belongs to, and where it is.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", encode(&self.arm), encode(&self.address.to_string()))
    }
}

fn gate(name: &str, front: &Front) -> Result<Gate, String> {
    if front.shadow.is_some() {
        return Err(format!("HAProxy cannot copy requests, and `{name}` is to"));
    }
    if front.hold.is_some() {
        return Err(format!("HAProxy cannot hold requests, and `{name}` is to"));
    }
    if front.arms.len() > ARMS {
        return Err(format!(
            "`{name}` has {} arms; behind HAProxy it can have {ARMS}",
            front.arms.len()
        ));
    }
    let mut rules = BTreeSet::new();
    for rule in &front.rules {
        let field = rule.field.strip_prefix("cookie:").unwrap_or(&rule.field);
        if !is_token(field) || rule.value.chars().any(char::is_control) {
            return Err(format!("`{name}` selects by something that is no header or cookie"));
        }
        rules.insert((rule.field.clone(), rule.value.clone()));
    }
    let filled = || front.arms.iter().filter(|arm| !arm.backends.is_empty());
    let Some(last) = filled().next_back() else {
        return Err(format!("`{name}` leads nowhere"));
    };
    let arms = filled().map(|arm| {
        let of = |arm: &super::super::routing::Arm, is_backup| {
            let server = |address: &SocketAddr| Server {
                is_backup,
                arm: arm.name.clone(),
                address: *address,
            };
            arm.backends.iter().map(server).collect::<BTreeSet<_>>()
        };
        let mut servers = of(arm, false);
        if arm.name != last.name {
            servers.extend(of(last, true));
        }
        (arm.name.clone(), servers)
    });
    Ok(Gate {
        listen: front.listen,
        is_entry: front.source == "client",
        observed: front.observed,
        answer_limit_ms: front.answer_limit_ms,
        rules,
        arms: arms.collect(),
        last: last.name.clone(),
    })
}

/// Says whether a text can name a header or a cookie (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

/// Returns what stands before and after the whole of a routing's weights in the map that frontends look into.
pub(super) fn pairs(routing: &Routing) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, front) in &routing.fronts {
        let key = encode(name);
        let mut end = 0;
        let parts = front.arms.iter().filter(|arm| arm.weight > 0).map(|arm| {
            end += arm.weight;
            format!("{end}|{}", backend(name, &arm.name))
        });
        pairs.push((key.clone(), parts.collect::<Vec<_>>().join("|")));
        if front.sticky.is_some() && front.arms.len() > 1 {
            pairs.push((format!("{key}.sticky"), "on".to_owned()));
        }
        for rule in &front.rules {
            let key = format!("{key}.{}", rule_key(&rule.field, &rule.value));
            pairs.push((key, backend(name, &rule.arm)));
        }
    }
    pairs
}

/// Returns the name of the part of an edge that leads to an arm.
pub(super) fn backend(front: &str, arm: &str) -> String {
    format!("{}:{}", encode(front), encode(arm))
}

/// Returns a short name of a rule.
pub(super) fn rule_key(field: &str, value: &str) -> String {
    let hash = blake3::hash(format!("{field}\n{value}").as_bytes()).to_hex();
    format!("rule-{}", &hash[..16])
}

/// Writes a name with letters, digits and `-` only; everything else becomes `_` and two digits.
pub(super) fn encode(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("_{byte:02x}"),
    };
    name.bytes().map(byte).collect()
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'_' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::routing::Arm;
    use super::*;

    fn routing(arms: &[(&str, u32, u16)]) -> Routing {
        let arm = |(name, weight, port): &(&str, u32, u16)| Arm {
            name: (*name).to_owned(),
            weight: *weight,
            backends: vec![([127, 0, 0, 1], *port).into()],
        };
        let front = Front {
            listen: ([127, 0, 0, 1], 80).into(),
            source: "client".to_owned(),
            destination: "app".to_owned(),
            arms: arms.iter().map(arm).collect(),
            sticky: None,
            rules: Vec::new(),
            shadow: None,
            hold: None,
            observed: true,
            answer_limit_ms: 1_000,
        };
        Routing { revision: 0, fronts: [("entry".to_owned(), front)].into() }
    }

    #[test]
    fn names_survive_being_written() {
        for name in ["", "entry", "20261121-070330-candidate:front>back", "a_b.c", "größe"] {
            let written = encode(name);
            assert!(written.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)));
            assert_eq!(decode(&written).as_deref(), Some(name));
        }
        assert_eq!(decode("_"), None);
        assert_eq!(decode("_zz"), None);
    }

    #[test]
    fn going_back_and_moving_weights_need_no_other_process() {
        let of = |arms| Layout::of(&routing(arms)).expect("it can be carried out");
        let before = of(&[("old", 100_000, 1)]);
        let canary = of(&[("new", 1, 2), ("old", 99_999, 1)]);
        let grown = of(&[("new", 50_000, 2), ("old", 50_000, 1)]);
        assert!(!before.holds(&canary));
        assert!(canary.holds(&grown) && canary.holds(&before));
        assert!(!canary.holds(&of(&[("new", 1, 3), ("old", 99_999, 1)])), "another instance");
    }

    #[test]
    fn weights_are_ends_of_intervals() {
        let told = pairs(&routing(&[("new", 1, 2), ("idle", 0, 3), ("old", 99_999, 1)]));
        let expected = ("entry".to_owned(), "1|entry:new|100000|entry:old".to_owned());
        assert_eq!(told, [expected]);
    }
}
