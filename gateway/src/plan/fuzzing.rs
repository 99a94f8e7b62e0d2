//! Any scenario.

use std::path::Path;

use super::scenario_file::Plan;
use super::sweep;

/// Points of a sweep that are looked at.
const POINTS_MAX: usize = 64;

/// Panics if a scenario that was read cannot be run, or an error says nothing.
pub(crate) fn scenario(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // A trace is another file: whatever name an input makes up is not opened.
    if text.contains("trace") {
        return;
    }
    match Plan::read(Path::new("plan.toml"), &text) {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("plan.toml"), "it does not say where: {text}");
        }
        Ok(plan) => {
            plan.scenario.check().expect("what is read can be run");
            let sweep = plan.sweep.iter();
            let values =
                sweep.flat_map(|sweep| sweep.values.iter().map(move |value| (sweep, *value)));
            for (sweep, value) in values.take(POINTS_MAX) {
                // A point may be beyond what can be run, and says so.
                if let Ok((fleet, scenario)) =
                    sweep::at(sweep.parameter, value, &plan.fleet, &plan.scenario)
                {
                    scenario.check().expect("a point of a sweep can be run");
                    assert!(fleet.sampled() >= 1);
                }
            }
        }
    }
}
