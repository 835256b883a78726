//! Workers that nobody declared: whether an estimate is a difference, or only seen in one arm.

use prophecy_simulator::Model;
use prophecy_simulator::observation::Workers;

use super::draw::Sampler;

/// Two estimates are one limit if they differ by no more: absolutely, and relatively.
const SAME: (u32, f64) = (1, 0.25);

/// Says whether the candidate works on another number of requests at once than the baseline.
///
/// A limit shows only where requests queue for it. Where it was estimated in one arm alone, the other
/// is without it only if it had more requests at once.
pub(super) fn differ(sampler: &Sampler<'_>, service: &str) -> bool {
    let evidence = sampler.evidence;
    let declared = [&evidence.system, &evidence.candidate_system]
        .map(|system| system.services.get(service).and_then(|service| service.concurrency));
    if declared.iter().any(Option::is_some) {
        return declared[0] != declared[1];
    }
    let (Some(before), Some(after)) =
        (sampler.baseline.services.get(service), evidence.candidate.services.get(service))
    else {
        return false;
    };
    match (limit(before.workers), limit(after.workers)) {
        (None, None) => false,
        (None, Some(new)) => before.most_at_once > new,
        (Some(old), None) => after.most_at_once > old,
        (Some(old), Some(new)) => {
            let apart = old.abs_diff(new);
            apart > SAME.0 && f64::from(apart) > SAME.1 * f64::from(old)
        }
    }
}

/// Gives production the limits that only an arm has shown: an arm of the baseline, or one of the candidate
/// where that is no difference.
pub(super) fn share_estimates(sampler: &Sampler<'_>, production: &mut Model, candidate: &Model) {
    for (name, station) in &mut production.services {
        if station.workers.is_some() {
            continue;
        }
        let known = sampler.baseline.services.get(name).and_then(|it| limit(it.workers));
        let shown = candidate.services.get(name).and_then(|station| station.workers);
        let shared = known.or_else(|| shown.filter(|_| !differ(sampler, name)));
        // Production has had more at once than an arm can show; that many it surely works on.
        let seen = sampler.evidence.production.services.get(name).map_or(0, |it| it.most_at_once);
        station.workers = shared.filter(|limit| *limit >= seen);
    }
}

fn limit(workers: Workers) -> Option<u32> {
    match workers {
        Workers::Declared(limit) | Workers::Estimated(limit) => Some(limit),
        Workers::Unlimited => None,
    }
}
