//! Any rule and any plan of faults, as text and as TOML.

use crate::fault_plan::{FaultPlan, FaultRule, PLAN_BYTES_MAX, RULES_MAX};

/// Panics if what was read is not the same once it is written and read again, or an error says nothing.
pub fn plans(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<FaultRule>() {
        Ok(rule) => assert_eq!(rule.to_string().parse(), Ok(rule)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match FaultPlan::from_toml(&text) {
        Ok(plan) => {
            assert!(plan.rules().len() <= RULES_MAX);
            let again = plan.to_toml();
            if again.len() <= PLAN_BYTES_MAX {
                assert_eq!(FaultPlan::from_toml(&again), Ok(plan), "{again}");
            }
        }
        Err(error) => {
            let error = error.to_string();
            assert!(
                error.starts_with("line ") || text.len() > PLAN_BYTES_MAX,
                "{error}"
            );
        }
    }
}
