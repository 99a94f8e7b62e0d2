//! Rules of the RTL that are broken on purpose, those of the engine in one copy of it, those of the farm in another.
//!
//! Owns the reading of `mutants.txt` and the copies. In a copy each expression stands beside its broken form, and a number, which the bench
//! gives (a function of C), chooses: so one model has all of them, and none where the number is 0.

use std::fs;
use std::path::Path;

/// The function of C, as the RTL knows it.
const PACKAGE: &str =
    "package faam_dv_mutant_pkg;\n  import \"DPI-C\" function int faam_dv_mutant();\nendpackage\n";

/// One rule that is broken.
pub(crate) struct Mutant {
    file: String,
    text: String,
    other: String,
}

impl Mutant {
    /// Whether it is a rule of the farm around the engines.
    pub(crate) fn is_farms(&self) -> bool {
        self.file.starts_with("faam_farm")
    }

    /// What is broken, for people.
    pub(crate) fn name(&self) -> String {
        format!("{}: `{}` for `{}`", self.file, self.other, self.text)
    }
}

/// Reads the list.
pub(crate) fn read(path: &Path) -> Result<Vec<Mutant>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split(":::").collect::<Vec<_>>()[..] {
            [file, text, other] => Ok(Mutant {
                file: file.to_owned(),
                text: text.to_owned(),
                other: other.to_owned(),
            }),
            _ => Err(format!(
                "{}: expected FILE:::EXPRESSION:::OTHER, not {line:?}",
                path.display()
            )),
        })
        .collect()
}

/// Writes a copy of the RTL with all of these.
pub(crate) fn write(mutants: &[&Mutant], rtl: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(rtl).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        let mut text = fs::read_to_string(&path).map_err(failed)?;
        for (index, mutant) in mutants
            .iter()
            .enumerate()
            .filter(|(_, mutant)| mutant.file == name)
        {
            let count = text.matches(&mutant.text).count();
            if count != 1 {
                return Err(format!(
                    "mutants.txt: `{}` is to stand in {name} once, and stands there {count} times: mend the list",
                    mutant.text
                ));
            }
            let both = format!(
                "((faam_dv_mutant_pkg::faam_dv_mutant() == {}) ? ({}) : ({}))",
                index + 1,
                mutant.other,
                mutant.text
            );
            text = text.replace(&mutant.text, &both);
        }
        fs::write(to.join(name), text).map_err(failed)?;
    }
    if let Some(missing) = mutants
        .iter()
        .find(|mutant| !rtl.join(&mutant.file).is_file())
    {
        return Err(format!("mutants.txt: there is no {}", missing.file));
    }
    fs::write(to.join("faam_dv_mutant_pkg.sv"), PACKAGE).map_err(failed)
}
