//! Workers that nobody declared: whether an estimate is a difference, or only seen in one arm.

use prophecy_simulator::Model;
use prophecy_simulator::model::Station;
use prophecy_simulator::observation::{Observations, Workers};

use super::draw::Sampler;

/// Two estimates are one limit if they differ by no more: absolutely, and relatively.
const SAME: (u32, f64) = (1, 0.25);

/// So many times as many workers as were ever busy are no limit.
const UNBOUNDED: f64 = 100.0;

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
    if let (
        Workers::Probed { least, most, .. },
        Workers::Probed { least: new_least, most: new_most, .. },
    ) = (before.workers, after.workers)
    {
        return new_least > most || new_most < least;
    }
    match (before.workers.limit(), after.workers.limit()) {
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
        let known = sampler.baseline.services.get(name).and_then(|it| it.workers.limit());
        let shown = candidate.services.get(name).and_then(|station| station.workers);
        let shared = known.or_else(|| shown.filter(|_| !differ(sampler, name)));
        // Production has had more at once than an arm can show; that many it surely works on.
        let seen = sampler.evidence.production.services.get(name).map_or(0, |it| it.most_at_once);
        station.workers = shared.filter(|limit| *limit >= seen);
    }
}

/// Draws the workers of services that nobody declared and that were never seen to queue.
///
/// That one instance worked on `most` requests at once says that it has at least as many workers, and
/// nothing else. Without any scale to go by, more than `k` times as many are as probable as 1 in `k`
/// (Pareto's law with shape 1, the distribution of a next record): a build that needs twice as
/// many at once as were ever seen finds them in half of the draws.
///
/// Both builds get the same, so that equal builds stay equal.
pub(super) fn draw_unseen(sampler: &Sampler<'_>, production: &mut Model, index: u32) {
    let evidence = sampler.evidence;
    for (name, station) in &mut production.services {
        let declared = evidence.system.services.get(name).and_then(|it| it.concurrency);
        if station.workers.is_some() || declared.is_some() {
            continue;
        }
        let seen = evidence.production.services.get(name).map_or(0, |it| it.most_at_once);
        // An arm is one instance; the candidate's counts unless it was seen to queue.
        let of_arms = [&evidence.baseline, &evidence.baseline_again, &evidence.candidate];
        let of_arms = of_arms.into_iter().filter_map(|arm| arm.services.get(name));
        let of_arms = of_arms.filter(|it| it.workers.limit().is_none()).map(|it| it.most_at_once);
        let most = of_arms.max().unwrap_or(0).max(seen.div_ceil(station.replicas.max(1)));
        if most == 0 {
            continue;
        }
        let entity = prophecy_core::random::fnv1a(name);
        let uniform = sampler.seed().stream(index, entity, "unseen workers").uniform();
        let drawn = f64::from(most) / (1.0 - uniform);
        station.workers = (drawn < UNBOUNDED * f64::from(most)).then_some(drawn as u32);
    }
}

/// Draws workers that a probe knows no better than within a range: each number in it is as probable.
///
/// The draw is the same for every build, so that equal builds stay equal.
pub(super) fn draw_probed(
    sampler: &Sampler<'_>,
    (name, station): (&str, &mut Station),
    observed: &Observations,
    index: u32,
) {
    let Some(Workers::Probed { least, most, .. }) =
        observed.services.get(name).map(|it| it.workers)
    else {
        return;
    };
    let entity = prophecy_core::random::fnv1a(name);
    let uniform = sampler.seed().stream(index, entity, "probed workers").uniform();
    let above = (uniform * f64::from(most - least + 1)) as u32;
    station.workers = Some(most.min(least + above));
}
