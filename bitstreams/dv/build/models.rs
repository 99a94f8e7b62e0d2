//! Which tops are Verilated, with which parameters.
//!
//! Owns the lists, and their views for Rust (`models.rs` in OUT_DIR) and C++ (`engine_models.h`, `match_models.h`).

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
    /// Of a copy of the RTL with the broken rules of `mutants.txt` in it.
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
    models.push(Model {
        bench: Bench::Farm,
        name: "farm".to_owned(),
        prefix: "Vfaam_farm".to_owned(),
        top: "faam_farm",
        is_mutant: false,
        parameters: Vec::new(),
    });
    models
}

/// Writes the lists of the models that are built.
pub(crate) fn write_lists(models: &[Model], mutants: &[Mutant], out: &Path) -> io::Result<()> {
    let mut rust = String::new();
    let _ = writeln!(
        rust,
        "#[cfg(rtl_engine)]\npub(crate) const MUTANTS: &[&str] = &{:?};",
        mutants.iter().map(Mutant::name).collect::<Vec<_>>()
    );
    for (bench, constant, header, list) in [
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
        let mut cpp = "#pragma once\n".to_owned();
        for model in of_bench() {
            let _ = writeln!(cpp, "#include \"{}.h\"", model.prefix);
            let parameter = |name| {
                let found = model
                    .parameters
                    .iter()
                    .find(|parameter| parameter.0 == name);
                found.map_or(0, |parameter| parameter.1)
            };
            if model.is_mutant {
                rust.push_str(
                    "];\n#[cfg(rtl_engine)]\npub(crate) const MUTANT: &[Configuration] = &[\n",
                );
            }
            let _ = writeln!(
                rust,
                "    Configuration {{ hash_bits: {}, ways: {}, lazy: {}, tables: {} }},",
                parameter("HASH_BITS"),
                parameter("WAYS"),
                parameter("LAZY") != 0,
                parameter("TABLES") != 0,
            );
        }
        if bench == Bench::Engine && !of_bench().any(|model| model.is_mutant) {
            rust.push_str(
                "];\n#[cfg(rtl_engine)]\npub(crate) const MUTANT: &[Configuration] = &[\n",
            );
        }
        rust.push_str("];\n");
        let _ = write!(cpp, "#define {list}(X)");
        for (index, model) in of_bench().enumerate() {
            let _ = write!(cpp, " X({index}, {})", model.prefix);
        }
        cpp.push('\n');
        fs::write(out.join(header), cpp)?;
    }
    fs::write(out.join("models.rs"), rust)
}
