//! Which faults strike when: rules, and plans of them, as text and as TOML.
//!
//! Owns the notation and its limits. Invariants: a rule that there is can be followed, for what is out of range, does not go with
//! its fault, or is not known is refused with the mend; a rule's text reads back as the same rule.
//! It does not know jobs or cards.

use std::fmt;
use std::str::FromStr;

use faam_hwif::FUNCTIONS;
use toml::de::{DeTable, DeValue};

use crate::faults::Fault;
use crate::function_faults::NoRoom;
use crate::options::Model;

/// Most rules that a card has at a time.
pub const RULES_MAX: usize = 128;
/// Longest time that a rule may ask for, milliseconds.
pub const FAULT_MS_MAX: u32 = 60_000;
/// Largest factor that a rule may ask for.
pub const FACTOR_MAX: u32 = 10_000;
/// Longest file of rules, bytes.
pub const PLAN_BYTES_MAX: usize = 64 << 10;
/// The keys of a rule, besides its fault's name.
const KEYS: &str = "function, after, times, chance, ms or factor";

/// One fault, and when it strikes. Its text is `NAME[,function=F][,after=N][,times=N][,chance=P][,ms=N][,factor=N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    fault: Fault,
    function: Option<u8>,
    after: Option<u64>,
    times: Option<u64>,
    chance: Option<f64>,
    ms: Option<u32>,
    factor: Option<u32>,
}

impl FaultRule {
    /// A rule without conditions: on until it is cleared; an event happens at once, once.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            function: None,
            after: None,
            times: None,
            chance: None,
            ms: None,
            factor: None,
        }
    }

    /// The fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The one function that it strikes; `None` = each, with counts of its own.
    #[must_use]
    pub fn function(&self) -> Option<u8> {
        self.function
    }

    /// Jobs that are spared before the first that is struck.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after.unwrap_or(0)
    }

    /// Jobs that are struck at most.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.times.unwrap_or(u64::MAX)
    }

    /// Chance of each job to be struck, above 0 and up to 1.
    #[must_use]
    pub fn chance(&self) -> f64 {
        self.chance.unwrap_or(1.0)
    }

    /// For how long, milliseconds, as the rule says or as goes without saying.
    #[must_use]
    pub fn ms(&self) -> Option<u32> {
        self.ms.or(self.fault.ms_default())
    }

    /// By how much, as the rule says or as goes without saying; 1 where it means nothing.
    #[must_use]
    pub fn factor(&self) -> u32 {
        self.factor.or(self.fault.factor_default()).unwrap_or(1)
    }

    /// Whether it strikes jobs one by one, rather than from now on.
    #[must_use]
    pub fn is_of_jobs(&self) -> bool {
        self.after.is_some() || self.times.is_some() || self.chance.is_some()
    }

    /// The rule for one function alone.
    pub(crate) fn of_function(mut self, function: u8) -> Self {
        self.function = Some(function);
        self
    }

    /// The rule for each function.
    pub(crate) fn of_all_functions(mut self) -> Self {
        self.function = None;
        self
    }

    /// The rule after so many jobs.
    pub(crate) fn after_jobs(mut self, jobs: u64) -> Self {
        self.after = Some(jobs);
        self
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), RuleError> {
        let name = self.fault.name();
        match key {
            "function" => put(
                &mut self.function,
                key,
                value,
                &format!("a function below {FUNCTIONS}"),
                |function| *function < FUNCTIONS,
            ),
            "after" => put(&mut self.after, key, value, "a number of jobs", |_| true),
            "times" => put(
                &mut self.times,
                key,
                value,
                "a number of jobs, 1 or more",
                |times| *times >= 1,
            ),
            "chance" => put(
                &mut self.chance,
                key,
                value,
                "a chance above 0 and up to 1, such as 0.01",
                |chance| *chance > 0.0 && *chance <= 1.0,
            ),
            "ms" if !self.fault.takes_ms() => {
                Err(RuleError(format!("{name} takes no ms: leave it out")))
            }
            "ms" => put(
                &mut self.ms,
                key,
                value,
                &format!("milliseconds from 1 to {FAULT_MS_MAX}"),
                |ms| (1..=FAULT_MS_MAX).contains(ms),
            ),
            "factor" if self.fault.factor_default().is_none() => {
                Err(RuleError(format!("{name} takes no factor: leave it out")))
            }
            "factor" => put(
                &mut self.factor,
                key,
                value,
                &format!("a factor from 2 to {FACTOR_MAX}"),
                |factor| (2..=FACTOR_MAX).contains(factor),
            ),
            _ => Err(RuleError(format!("a rule has no {key:?}: expected {KEYS}"))),
        }
    }
}

fn put<T: FromStr>(
    place: &mut Option<T>,
    key: &str,
    value: &str,
    expected: &str,
    fits: impl Fn(&T) -> bool,
) -> Result<(), RuleError> {
    let parsed = value
        .parse()
        .ok()
        .filter(fits)
        .ok_or_else(|| RuleError(format!("{key} must be {expected}, got {value:?}")))?;
    match place.replace(parsed) {
        None => Ok(()),
        Some(_) => Err(RuleError(format!("{key} is given twice: leave one out"))),
    }
}

/// What is wrong with a rule or a plan, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

impl FromStr for FaultRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut rule = Self::new(name.parse().map_err(RuleError)?);
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                RuleError(format!(
                    "expected KEY=VALUE with one of {KEYS} after {name}, got {part:?}"
                ))
            })?;
            rule.set(key.trim(), value.trim())?;
        }
        Ok(rule)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.name())?;
        let mut key = |name: &str, value: Option<String>| match value {
            Some(value) => write!(f, ",{name}={value}"),
            None => Ok(()),
        };
        key("function", self.function.map(|it| it.to_string()))?;
        key("after", self.after.map(|it| it.to_string()))?;
        key("times", self.times.map(|it| it.to_string()))?;
        key("chance", self.chance.map(|it| it.to_string()))?;
        key("ms", self.ms.map(|it| it.to_string()))?;
        key("factor", self.factor.map(|it| it.to_string()))
    }
}

/// Rules, and the seed of their chances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    seed: Option<u64>,
    rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// What chances are drawn from; `None` = a seed of the card's own, which it logs.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[FaultRule] {
        &self.rules
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seed.is_none() && self.rules.is_empty()
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// There are [`RULES_MAX`].
    pub fn push(&mut self, rule: FaultRule) -> Result<(), RuleError> {
        if self.rules.len() >= RULES_MAX {
            return Err(RuleError(format!(
                "a plan has at most {RULES_MAX} rules: leave some out"
            )));
        }
        self.rules.push(rule);
        Ok(())
    }

    /// A plan from TOML: `seed = 7`, then a `[[fault]]` a rule, with `name` and the keys of a rule's text.
    ///
    /// # Errors
    /// [`RuleError`], with the line.
    pub fn from_toml(text: &str) -> Result<Self, RuleError> {
        if text.len() > PLAN_BYTES_MAX {
            return Err(RuleError(format!(
                "{} bytes: a plan has at most {PLAN_BYTES_MAX}",
                text.len()
            )));
        }
        let at = |offset: usize, what: String| {
            let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            RuleError(format!("line {line}: {what}"))
        };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            at(offset, format!("{}; correct the TOML", error.message()))
        })?;
        let mut plan = Self::default();
        for (key, value) in table.get_ref() {
            let offset = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("seed", value) => {
                    let seed = scalar(value).and_then(|text| text.parse().ok());
                    plan.seed = Some(seed.ok_or_else(|| {
                        at(offset, "seed must be a number, 0 or more".to_owned())
                    })?);
                }
                ("fault", DeValue::Array(rules)) => {
                    for rule in rules {
                        let offset = rule.span().start;
                        let DeValue::Table(keys) = rule.get_ref() else {
                            return Err(at(
                                offset,
                                "expected [[fault]] with name = \"...\"".to_owned(),
                            ));
                        };
                        let rule = from_table(keys).map_err(|error| at(offset, error.0))?;
                        plan.push(rule).map_err(|error| at(offset, error.0))?;
                    }
                }
                (key, _) => {
                    return Err(at(
                        offset,
                        format!("a plan has no {key:?}: expected seed = N and [[fault]] tables"),
                    ));
                }
            }
        }
        Ok(plan)
    }

    /// The plan as [`FaultPlan::from_toml`] reads it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        if let Some(seed) = self.seed {
            text.push_str(&format!("seed = {seed}\n"));
        }
        for rule in &self.rules {
            text.push_str("\n[[fault]]\n");
            for (n, part) in rule.to_string().split(',').enumerate() {
                match part.split_once('=') {
                    Some((key, value)) if n > 0 => text.push_str(&format!("{key} = {value}\n")),
                    _ => text.push_str(&format!("name = \"{part}\"\n")),
                }
            }
        }
        text
    }
}

fn from_table(keys: &DeTable<'_>) -> Result<FaultRule, RuleError> {
    let name = keys.get("name").map(toml::Spanned::get_ref);
    let Some(DeValue::String(name)) = name else {
        return Err(RuleError(
            "a fault needs its name: name = \"engine-hangs\", say".to_owned(),
        ));
    };
    let mut rule = FaultRule::new(name.parse().map_err(RuleError)?);
    for (key, value) in keys {
        if key.get_ref() == "name" {
            continue;
        }
        let value = scalar(value.get_ref())
            .ok_or_else(|| RuleError(format!("{} must be a number", key.get_ref())))?;
        rule.set(key.get_ref(), &value)?;
    }
    Ok(rule)
}

/// A number as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

impl From<NoRoom> for RuleError {
    fn from(error: NoRoom) -> Self {
        Self(error.to_string())
    }
}

/// Whether a rule can be followed by a card: one that has a process of its own or not, and this inside.
pub(crate) fn check(rule: &FaultRule, own_process: bool, model: Model) -> Result<(), RuleError> {
    if model == Model::Rtl {
        // Gateware has no faults, and nobody counts its jobs: what a card does around it can go wrong.
        let name = rule.fault.name();
        if !rule.fault.is_around_the_model() {
            return Err(RuleError(format!(
                "{name} is a fault of the functional model, and gateware is inside: run a card with --model functional"
            )));
        }
        if rule.is_of_jobs() {
            return Err(RuleError(format!(
                "{name} cannot be counted by jobs with gateware inside: leave after, times and chance out, or run a card \
                 with --model functional"
            )));
        }
    }
    if rule.fault == Fault::Stops && !own_process {
        return Err(RuleError(
            "stops needs a card with a process of its own: run it by `faam sim`".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_itself() {
        for text in [
            "gone",
            "engine-hangs,function=1,after=100,times=1",
            "slow-engine,chance=0.01,factor=100",
            "late-completion,after=0,ms=250",
            "loses-doorbells,function=0,times=3,ms=40",
        ] {
            let rule: FaultRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
        }
        let spaced: FaultRule = "slow-engine, factor = 4".parse().unwrap();
        assert_eq!(spaced.to_string(), "slow-engine,factor=4");
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_the_mend() {
        for (text, word) in [
            ("no-such", "engine-hangs"),
            ("", "engine-hangs"),
            ("gone,function=2", "below 2"),
            ("gone,function", "KEY=VALUE"),
            ("gone,wibble=1", "factor"),
            ("gone,times=0", "1 or more"),
            ("gone,after=-1", "number of jobs"),
            ("gone,chance=0", "above 0"),
            ("gone,chance=1.5", "up to 1"),
            ("gone,chance=NaN", "up to 1"),
            ("gone,ms=0", "60000"),
            ("gone,ms=60001", "60000"),
            ("flips-a-bit,ms=5", "no ms"),
            ("gone,factor=4", "no factor"),
            ("slow-engine,factor=1", "from 2"),
            ("gone,times=1,times=2", "twice"),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let stops = FaultRule::new(Fault::Stops);
        let alone = |own_process| check(&stops, own_process, Model::Functional);
        assert!(alone(false).unwrap_err().0.contains("faam sim"));
        assert_eq!(alone(true), Ok(()));
    }

    #[test]
    fn gateware_has_the_faults_around_it_alone() {
        for (text, word) in [
            ("gone", None),
            ("loses-interrupts,function=1", None),
            ("surprise-removal,ms=5", None),
            ("engine-hangs", Some("--model functional")),
            ("flips-a-bit,chance=0.5", Some("--model functional")),
            ("gone,after=3", Some("leave after, times and chance out")),
        ] {
            let rule: FaultRule = text.parse().unwrap();
            assert_eq!(check(&rule, true, Model::Functional), Ok(()), "{text}");
            match (check(&rule, true, Model::Rtl), word) {
                (Ok(()), None) => {}
                (Err(error), Some(word)) if error.0.contains(word) => {}
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_plan_reads_back_from_toml() {
        let text = "seed = 7\n\n[[fault]]\nname = \"slow-engine\"\nchance = 0.25\nfactor = 100\n\n[[fault]]\nname = \"gone\"\nfunction = 1\n";
        let plan = FaultPlan::from_toml(text).unwrap();
        assert_eq!(plan.seed(), Some(7));
        assert_eq!(
            plan.rules()[0].to_string(),
            "slow-engine,chance=0.25,factor=100"
        );
        assert_eq!(plan.to_toml(), text);
        assert_eq!(FaultPlan::from_toml(&plan.to_toml()), Ok(plan));
        assert!(FaultPlan::from_toml("").unwrap().is_empty());
    }

    #[test]
    fn a_plan_says_where_it_is_wrong() {
        for (text, line, word) in [
            ("seed = -1", "line 1", "0 or more"),
            ("\nseeds = 1", "line 2", "[[fault]]"),
            ("seed = 1\n[[fault]]\nfunction = 1", "line 2", "name"),
            ("[[fault]]\nname = \"gone\"\nwibble = 1", "line 1", "wibble"),
            (
                "[[fault]]\nname = \"gone\"\ntimes = \"x\"",
                "line 1",
                "number",
            ),
            ("seed = ", "line 1", "TOML"),
        ] {
            let error = FaultPlan::from_toml(text).unwrap_err().to_string();
            assert!(
                error.contains(line) && error.contains(word),
                "{text}: {error}"
            );
        }
        let many = "[[fault]]\nname = \"gone\"\n".repeat(RULES_MAX + 1);
        assert!(
            FaultPlan::from_toml(&many)
                .unwrap_err()
                .0
                .contains("at most")
        );
        assert!(FaultPlan::from_toml(&" ".repeat(PLAN_BYTES_MAX + 1)).is_err());
    }
}
