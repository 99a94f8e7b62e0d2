//! One figure of a scenario, over a range.
//!
//! Owns what can be swept and how a scenario is changed for each value. Invariant: whatever is swept, the rest stays as the
//! scenario has it, random numbers included. It does not know what comes of it.

use std::fmt;
use std::str::FromStr;

use faam_sched::simulation::{Arrivals, Scenario};

use super::defaults;
use super::fleet::Fleet;

/// Most values of a sweep.
const VALUES_MAX: usize = 64;
/// Values of a range whose number is not said: each whole one up to so many, else so many.
const STEPS: usize = 12;

/// What is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Cards,
    Engines,
    Cores,
    Machines,
    Tenants,
    Load,
}

const PARAMETERS: [(&str, Parameter); 6] = [
    ("cards", Parameter::Cards),
    ("engines", Parameter::Engines),
    ("cores", Parameter::Cores),
    ("machines", Parameter::Machines),
    ("tenants", Parameter::Tenants),
    ("load", Parameter::Load),
];

impl Parameter {
    pub(super) fn name(self) -> &'static str {
        let found = PARAMETERS.iter().find(|(_, parameter)| *parameter == self);
        found.map_or("", |(name, _)| *name)
    }

    /// For a column and an axis.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Cards => "cards a machine",
            Self::Engines => "engines a function",
            Self::Cores => "cores a machine",
            Self::Machines => "machines",
            Self::Tenants => "times as many tenants",
            Self::Load => "times the load",
        }
    }

    /// Whether more of it is more to do, rather than more to do it with.
    pub(super) const fn is_demand(self) -> bool {
        matches!(self, Self::Tenants | Self::Load)
    }
}

/// Values of a parameter, rising.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sweep {
    pub(super) parameter: Parameter,
    pub(super) values: Vec<f64>,
}

impl FromStr for Sweep {
    type Err = String;

    /// `cards=1..16`, `load=0.2..1.6:8` (from, to, how many), `machines=1,10,100`.
    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).collect();
        let expected = || {
            format!(
                "expected PARAMETER=FROM..TO, FROM..TO:STEPS or A,B,C, as in cards=1..16 or load=0.2..1.6:8, of {}; got {text:?}",
                names.join(", ")
            )
        };
        let (name, range) = text.split_once('=').ok_or_else(expected)?;
        let named = PARAMETERS.iter().find(|(known, _)| *known == name.trim());
        let (_, parameter) = *named.ok_or_else(expected)?;
        let number = |text: &str| -> Result<f64, String> {
            let number: f64 = text.trim().parse().map_err(|_| expected())?;
            let (low, whole) = match parameter {
                Parameter::Cards => (0.0, true),
                Parameter::Tenants | Parameter::Load => (1e-6, false),
                _ => (1.0, true),
            };
            if !(low..=1e6).contains(&number) || whole && number.fract() != 0.0 {
                let kind = if whole { "a whole number" } else { "a number" };
                return Err(format!(
                    "{name}: expected {kind} from {low} to 1000000, got {number}"
                ));
            }
            Ok(number)
        };
        let mut values = match range.split_once("..") {
            None => range
                .split(',')
                .map(number)
                .collect::<Result<Vec<_>, _>>()?,
            Some((from, rest)) => {
                let (to, steps) = match rest.split_once(':') {
                    None => (rest, None),
                    Some((to, steps)) => (to, Some(steps.trim().parse().map_err(|_| expected())?)),
                };
                between(parameter, number(from)?, number(to)?, steps).ok_or_else(expected)?
            }
        };
        values.sort_by(f64::total_cmp);
        values.dedup();
        if values.is_empty() || values.len() > VALUES_MAX {
            return Err(format!(
                "expected 1 to {VALUES_MAX} values, got {}",
                values.len()
            ));
        }
        Ok(Self { parameter, values })
    }
}

/// Values of a range: even steps, or even ratios where it is long and of whole numbers.
fn between(parameter: Parameter, from: f64, to: f64, steps: Option<usize>) -> Option<Vec<f64>> {
    if from > to || steps.is_some_and(|steps| !(1..=VALUES_MAX).contains(&steps)) {
        return None;
    }
    let whole = !parameter.is_demand();
    let span = to - from + 1.0;
    let few = whole && span <= 16.0 && steps.is_none();
    let steps = match steps {
        Some(steps) => steps,
        None if few => usize::try_from(super::whole(span)).ok()?,
        None => STEPS,
    };
    let last = steps.saturating_sub(1).max(1) as f64;
    let by_ratio = whole && !few && from > 0.0;
    let values = (0..steps).map(|n| {
        let part = n as f64 / last;
        if by_ratio {
            (from * (to / from).powf(part)).round()
        } else if whole {
            (from + (to - from) * part).round()
        } else {
            // Three digits: what is printed is what is simulated.
            ((from + (to - from) * part) * 1e3).round() / 1e3
        }
    });
    Some(values.collect())
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(f64::to_string).collect();
        write!(f, "{}={}", self.parameter.name(), values.join(","))
    }
}

/// The scenario with a parameter at a value.
///
/// # Errors
/// It cannot have that value.
pub(super) fn at(
    parameter: Parameter,
    value: f64,
    fleet: &Fleet,
    scenario: &Scenario,
) -> anyhow::Result<(Fleet, Scenario)> {
    let (mut fleet, mut scenario) = (fleet.clone(), scenario.clone());
    let number = super::whole(value);
    let narrow = u32::try_from(number).unwrap_or(u32::MAX);
    match parameter {
        Parameter::Cards => {
            let card = scenario
                .machine
                .cards
                .first()
                .copied()
                .unwrap_or(defaults::CARD);
            scenario.machine.cards = vec![card; usize::try_from(number)?];
            let cards = scenario.machine.cards.len();
            scenario.faults.retain(|fault| fault.card < cards);
        }
        Parameter::Engines => {
            for card in &mut scenario.machine.cards {
                card.engines = narrow;
            }
        }
        Parameter::Cores => scenario.machine.cores = narrow,
        Parameter::Machines => fleet.machines = number,
        Parameter::Tenants => {
            for class in &mut scenario.classes {
                let count = super::whole((f64::from(class.count) * value).round());
                class.count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
            }
        }
        Parameter::Load => {
            for class in &mut scenario.classes {
                match &mut class.arrivals {
                    Arrivals::Poisson { per_s }
                    | Arrivals::Bursts { per_s, .. }
                    | Arrivals::Diurnal { per_s, .. }
                    | Arrivals::OnOff { per_s, .. } => *per_s *= value,
                    Arrivals::Closed { callers, .. } => {
                        let more = super::whole((f64::from(*callers) * value).round());
                        *callers = u32::try_from(more.max(1)).unwrap_or(u32::MAX);
                    }
                    Arrivals::Trace(_) => anyhow::bail!(
                        "tenants {}: a trace's load cannot be swept; sweep tenants, or what serves them",
                        class.name
                    ),
                }
            }
        }
    }
    scenario.check().map_err(|unfit| {
        let name = parameter.name();
        anyhow::anyhow!("{name}={value}: {unfit}; sweep within that, or machines=... for more than one machine holds")
    })?;
    Ok((fleet, scenario))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let values = |text: &str| text.parse::<Sweep>().map(|sweep| sweep.values);
        assert_eq!(values("cards=1..4"), Ok(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(values("load=0.2..1:5"), Ok(vec![0.2, 0.4, 0.6, 0.8, 1.0]));
        assert_eq!(values("machines=100,1,10"), Ok(vec![1.0, 10.0, 100.0]));
        let machines = values("machines=1..1250").expect("a range");
        assert_eq!(
            (machines.first(), machines.last()),
            (Some(&1.0), Some(&1250.0))
        );
        assert!(machines.len() <= STEPS && machines.is_sorted());
        for bad in [
            "",
            "cards",
            "cards=",
            "cards=2..1",
            "cards=1.5",
            "cores=0..2",
            "load=0..1",
            "rams=1..2",
            "load=1..2:0",
        ] {
            let error = values(bad).expect_err(bad);
            assert!(error.contains("expected"), "{bad}: {error}");
        }
    }
}
