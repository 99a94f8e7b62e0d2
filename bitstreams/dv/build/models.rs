//! Which tops are Verilated, with which parameters.
//!
//! Owns the lists, and their views for Rust (`models.rs` in OUT_DIR) and C++ (`engine_models.h`, `match_models.h`, `farm_models.h`).

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::mutants::Mutant;

/// Who drives a model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bench {
    Match,
    Engine,
    Farm,
}

impl Bench {
    pub(crate) const ALL: [Self; 3] = [Self::Match, Self::Engine, Self::Farm];

    /// The cfg that says that its models were built.
    pub(crate) fn cfg(self) -> &'static str {
        match self {
            Self::Match => "rtl_match",
            Self::Engine => "rtl_engine",
            Self::Farm => "rtl_farm",
        }
    }

    /// Its C++, in `shim/`.
    pub(crate) fn shim(self) -> &'static str {
        match self {
            Self::Match => "match.cpp",
            Self::Engine => "engine.cpp",
            Self::Farm => "farm.cpp",
        }
    }
}

/// One top with its parameters.
pub(crate) struct Model {
    pub(crate) bench: Bench,
    /// Unique; also the name of its archives.
    pub(crate) name: String,
    /// The C++ class.
    pub(crate) prefix: String,
    pub(crate) top: &'static str,
    /// Of a copy of the RTL with the engine's or the farm's broken rules of `mutants.txt` in it.
    pub(crate) is_mutant: bool,
    pub(crate) parameters: Vec<(&'static str, u32)>,
}

/// Parameters of an engine: log2 of the sets, ways, whether it can be lazy, whether it takes tables. Each value of each parameter is
/// there with more than one value of the others; the first is the whole engine.
const ENGINES: [(u32, u32, u32, u32); 5] = [
    (13, 4, 1, 1),
    (13, 1, 1, 0),
    (12, 2, 1, 1),
    (12, 1, 0, 1),
    (13, 2, 0, 0),
];
/// Parameters of the engine with the broken rules.
const MUTANT: (u32, u32, u32, u32) = (12, 2, 1, 1);
/// Parameters of a matcher: log2 of the sets, ways, whether it can be lazy.
const MATCHERS: [(u32, u32, u32); 2] = [(13, 4, 1), (12, 1, 1)];

impl Model {
    /// A parameter's value; 0 for one that it does not have.
    fn parameter(&self, name: &str) -> u32 {
        let found = self.parameters.iter().find(|parameter| parameter.0 == name);
        found.map_or(0, |parameter| parameter.1)
    }
}

/// Every model.
pub(crate) fn all() -> Vec<Model> {
    let mut models = Vec::new();
    for (hash_bits, ways, lazy) in MATCHERS {
        models.push(Model {
            bench: Bench::Match,
            name: format!("match_{hash_bits}x{ways}_{lazy}"),
            prefix: format!("Vfaam_match_{hash_bits}x{ways}_{lazy}"),
            top: "faam_match_bench",
            is_mutant: false,
            parameters: vec![("HASH_BITS", hash_bits), ("WAYS", ways), ("LAZY", lazy)],
        });
    }
    let engines = ENGINES.iter().map(|parameters| (*parameters, false));
    // The mutant comes last, so that the others have the same numbers in both lists.
    for ((hash_bits, ways, lazy, tables), is_mutant) in engines.chain([(MUTANT, true)]) {
        let kind = if is_mutant { "mutant" } else { "engine" };
        models.push(Model {
            bench: Bench::Engine,
            name: format!("{kind}_{hash_bits}x{ways}_{lazy}_{tables}"),
            prefix: format!("Vfaam_{kind}_{hash_bits}x{ways}_{lazy}_{tables}"),
            top: "faam_engine_bench",
            is_mutant,
            parameters: vec![
                ("HASH_BITS", hash_bits),
                ("WAYS", ways),
                ("LAZY", lazy),
                ("TABLES", tables),
            ],
        });
    }
    // The pair has the farm's broken rules in it, none of which acts unless it is told to: one model for both purposes.
    for (engines, name, is_mutant) in [(1, "farm", false), (2, "farm_pair", true)] {
        models.push(Model {
            bench: Bench::Farm,
            name: name.to_owned(),
            prefix: format!("Vfaam_{name}"),
            top: "faam_farm",
            is_mutant,
            parameters: vec![("ENGINES", engines)],
        });
    }
    models
}

/// The names of some of the broken rules.
fn names(mutants: &[Mutant], is_wanted: impl Fn(&Mutant) -> bool) -> Vec<String> {
    let wanted = mutants.iter().filter(|mutant| is_wanted(mutant));
    wanted.map(Mutant::name).collect()
}

/// A list of models for C++.
fn header<'a>(list: &str, models: impl Iterator<Item = &'a Model>) -> String {
    let mut cpp = "#pragma once\n".to_owned();
    let mut cases = String::new();
    for (index, model) in models.enumerate() {
        let _ = writeln!(cpp, "#include \"{}.h\"", model.prefix);
        let _ = write!(cases, " X({index}, {})", model.prefix);
    }
    let _ = writeln!(cpp, "#define {list}(X){cases}");
    cpp
}

/// Writes the lists of the models that are built.
pub(crate) fn write_lists(models: &[Model], mutants: &[Mutant], out: &Path) -> io::Result<()> {
    let mut rust = String::new();
    let _ = writeln!(
        rust,
        "#[cfg(rtl_engine)]\npub(crate) const MUTANTS: &[&str] = &{:?};",
        names(mutants, |mutant| !mutant.is_farms())
    );
    let _ = writeln!(
        rust,
        "#[cfg(rtl_pair)]\npub(crate) const FARM_MUTANTS: &[&str] = &{:?};",
        names(mutants, Mutant::is_farms)
    );
    let farms = || models.iter().filter(|model| model.bench == Bench::Farm);
    let engines: Vec<u32> = farms().map(|model| model.parameter("ENGINES")).collect();
    let _ = writeln!(
        rust,
        "#[cfg(rtl_farm)]\npub(crate) const FARMS: &[u8] = &{engines:?};"
    );
    fs::write(
        out.join("farm_models.h"),
        header("FAAM_FARM_MODELS", farms()),
    )?;
    for (bench, constant, file, list) in [
        (
            Bench::Match,
            "MATCHERS",
            "match_models.h",
            "FAAM_MATCH_MODELS",
        ),
        (
            Bench::Engine,
            "ENGINES",
            "engine_models.h",
            "FAAM_ENGINE_MODELS",
        ),
    ] {
        let of_bench = || models.iter().filter(|model| model.bench == bench);
        let _ = writeln!(rust, "#[cfg({})]", bench.cfg());
        let _ = writeln!(rust, "pub(crate) const {constant}: &[Configuration] = &[");
        for model in of_bench() {
            if model.is_mutant {
                rust.push_str(
                    "];\n#[cfg(rtl_engine)]\npub(crate) const MUTANT: &[Configuration] = &[\n",
                );
            }
            let _ = writeln!(
                rust,
                "    Configuration {{ hash_bits: {}, ways: {}, lazy: {}, tables: {} }},",
                model.parameter("HASH_BITS"),
                model.parameter("WAYS"),
                model.parameter("LAZY") != 0,
                model.parameter("TABLES") != 0,
            );
        }
        if bench == Bench::Engine && !of_bench().any(|model| model.is_mutant) {
            rust.push_str(
                "];\n#[cfg(rtl_engine)]\npub(crate) const MUTANT: &[Configuration] = &[\n",
            );
        }
        rust.push_str("];\n");
        fs::write(out.join(file), header(list, of_bench()))?;
    }
    fs::write(out.join("models.rs"), rust)
}
