//! Jobs that once failed, run again.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use faam_dv::Engine;

use crate::case::Kept;
use crate::check::{self, Model};

#[test]
fn kept_cases_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    if let Some(one) = std::env::var_os("FAAM_DV_CASE") {
        files = vec![PathBuf::from(one)];
    }
    let mut failures = Vec::new();
    let mut run = 0;
    for file in &files {
        let kept = Kept::read(file);
        let configuration = kept.configuration();
        let Some(mut engine) = Engine::new(configuration, 1) else {
            println!(
                "{}: the engine {configuration} was not built",
                file.display()
            );
            continue;
        };
        if let Some(traces) = std::env::var_os("FAAM_DV_TRACE") {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned() + ".vcd";
            let path = PathBuf::from(traces).join(name);
            let written = engine.trace(&CString::new(path.to_string_lossy().into_owned()).unwrap());
            assert!(
                written,
                "no waveforms in {}: build with --features trace, and let the directory be there",
                path.display()
            );
            println!("waveforms: {}", path.display());
        }
        let mut model = Model::new();
        for (number, case) in kept.jobs.iter().enumerate() {
            run += 1;
            if let Err(what) = check::run(&mut engine, &mut model, case, configuration) {
                failures.push(format!("{}, job {number}: {what}", file.display()));
            }
        }
    }
    println!("{run} kept jobs of {} files", files.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
