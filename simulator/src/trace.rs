//! One replication as spans: who called whom, when, and what it waited for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::compiled::CompiledModel;

/// A visit of a request to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The request from outside that it belongs to, by arrival.
    pub root: u32,
    /// The span of its caller, counted from 1; 0 where there is none.
    pub parent: u32,
    /// The index of the service.
    pub station: u32,
    /// The index of the route.
    pub route: u32,
    /// The instance.
    pub instance: u32,
    /// When it came \[ns\].
    pub arrived_nanos: u64,
    /// When a worker took it up \[ns\]; 0 if none did.
    pub begun_nanos: u64,
    /// When it was answered \[ns\]; 0 if it was not.
    pub ended_nanos: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// All spans of a replication, in the order of their arrivals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The spans.
    pub spans: Vec<Span>,
}

// === impl Trace ===

impl Trace {
    pub(crate) fn begin(&mut self, span: Span) -> u32 {
        self.spans.push(span);
        self.spans.len() as u32
    }

    pub(crate) fn end(&mut self, span: u32, instance: u32, begun: u64, ended: u64, failed: bool) {
        if let Some(span) = (span as usize).checked_sub(1).and_then(|it| self.spans.get_mut(it)) {
            span.instance = instance;
            span.begun_nanos = begun;
            span.ended_nanos = ended;
            span.failed = failed;
        }
    }

    /// Returns the request from outside that took longest, of those that were answered.
    pub fn slowest(&self) -> Option<u32> {
        let roots = self.spans.iter().filter(|span| span.parent == 0 && span.ended_nanos > 0);
        roots
            .max_by_key(|span| (span.ended_nanos - span.arrived_nanos, u32::MAX - span.root))
            .map(|span| span.root)
    }

    /// Returns the spans of a request from outside, callers before what they call.
    pub fn of_root(&self, root: u32) -> Vec<(usize, Span)> {
        let mut depths: BTreeMap<u32, usize> = BTreeMap::new();
        let mut children: BTreeMap<u32, Vec<(u32, Span)>> = BTreeMap::new();
        for (number, span) in (1u32..).zip(&self.spans).filter(|(_, span)| span.root == root) {
            let depth = depths.get(&span.parent).map_or(0, |depth| depth + 1);
            depths.insert(number, depth);
            children.entry(span.parent).or_default().push((number, *span));
        }
        let mut ordered = Vec::new();
        let mut stack: Vec<(u32, Span)> = children.remove(&0).unwrap_or_default();
        stack.reverse();
        while let Some((number, span)) = stack.pop() {
            ordered.push((depths[&number], span));
            let below = children.remove(&number).unwrap_or_default();
            stack.extend(below.into_iter().rev());
        }
        ordered
    }

    /// Returns the trace in the JSON encoding of the OpenTelemetry protocol.
    ///
    /// Times count from 1970; span names are routes; waiting for a worker is an attribute.
    ///
    /// # Source
    ///
    /// OpenTelemetry protocol 1.x, `ExportTraceServiceRequest`.
    pub fn to_otlp(&self, model: &CompiledModel) -> Value {
        let build = &model.builds[0];
        let mut by_service: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
        for (number, span) in (1u32..).zip(&self.spans) {
            let mut value = json!({
                "traceId": format!("{:032x}", u128::from(span.root) + 1),
                "spanId": format!("{number:016x}"),
                "name": build.routes[span.route as usize].name,
                "kind": 2,
                "startTimeUnixNano": span.arrived_nanos.to_string(),
                "endTimeUnixNano": span.ended_nanos.max(span.arrived_nanos).to_string(),
                "attributes": [
                    {
                        "key": "prophecy.waited_ns",
                        "value": { "intValue": span.begun_nanos.saturating_sub(span.arrived_nanos).to_string() },
                    },
                    {
                        "key": "service.instance",
                        "value": { "intValue": span.instance.to_string() },
                    },
                ],
                "status": { "code": if span.failed { 2 } else { 1 } },
            });
            if span.parent != 0 {
                value["parentSpanId"] = json!(format!("{:016x}", span.parent));
            }
            by_service.entry(span.station).or_default().push(value);
        }
        let resources = by_service.into_iter().map(|(station, spans)| {
            let name = &build.stations[station as usize].name;
            json!({
                "resource": { "attributes": [
                    { "key": "service.name", "value": { "stringValue": name } },
                ] },
                "scopeSpans": [{ "scope": { "name": "prophecy" }, "spans": spans }],
            })
        });
        json!({ "resourceSpans": resources.collect::<Vec<Value>>() })
    }

    /// Returns the name of a span's service and route.
    pub fn names<'m>(&self, span: &Span, model: &'m CompiledModel) -> (&'m str, &'m str) {
        let build = &model.builds[0];
        (&build.stations[span.station as usize].name, &build.routes[span.route as usize].name)
    }
}
