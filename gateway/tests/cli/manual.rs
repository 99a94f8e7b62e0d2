//! Manual pages and completions: they are made, and those who read them take them.

use std::process::{Command, Stdio};

use crate::faam::{Place, names, run};

fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn is_there(program: &str) -> bool {
    let there = command(program, &["--version"]).output().is_ok();
    if !there {
        println!("no {program}: not checked with it");
    }
    there
}

/// `faam` without a gateway or a key.
fn faam(words: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_faam"), words);
    command.env_remove("FAAM_URL").env_remove("FAAM_KEY");
    command
}

#[test]
fn every_command_has_a_page_that_man_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = dir.path().join("man1");
    run(faam(&["man", "--dir", pages.to_str().expect("UTF-8")]), b"").check(0, &[]);
    let pages_written = names(&pages);
    let help = String::from_utf8(run(faam(&["--help"]), b"").check(0, &[]).stdout).expect("UTF-8");
    let (_, commands) = help.split_once("Commands:").expect("commands");
    let commands: Vec<_> = commands
        .lines()
        .map_while(|line| (!line.starts_with("Options")).then_some(line))
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(
        commands.contains(&"compress") && commands.len() >= 6,
        "{commands:?}"
    );
    for name in commands {
        let page = format!("faam-{name}.1");
        assert!(pages_written.contains(&page), "{page}: {pages_written:?}");
        let printed = run(faam(&["man", name]), b"").check(0, &[]).stdout;
        assert_eq!(printed, std::fs::read(pages.join(page)).expect("written"));
    }
    for page in ["faam-device-ls.1", "faam-device-reset.1"] {
        assert!(pages_written.contains(&page.to_owned()), "{page}");
    }
    assert!(
        pages_written.contains(&"faam.1".to_owned())
            && pages_written.contains(&"faam.toml.5".to_owned())
    );
    if is_there("man") {
        for page in &pages_written {
            let mut man = command("man", &["-l", "--warnings", page]);
            man.current_dir(&pages)
                .env("MANWIDTH", "100")
                .env("LC_ALL", "C.UTF-8");
            let ended = run(man, b"").check(0, &[]);
            assert_eq!(ended.stderr, "", "{page}");
            let text = String::from_utf8(ended.stdout).expect("UTF-8");
            assert!(
                text.contains("NAME") && text.contains("SEE ALSO"),
                "{page}:\n{text}"
            );
        }
    }
    // As `faam man serve | head -1`.
    let mut child = faam(&["man", "faam.toml"]).spawn().expect("starts");
    drop(child.stdout.take());
    assert_eq!(
        crate::faam::finish(child).silent().code,
        None,
        "ended by SIGPIPE"
    );
    run(faam(&["man", "nothing"]), b"").check(1, &["no page", "faam-compress.1"]);
}

#[test]
fn shells_take_their_completions() {
    for (shell, program, words) in [
        ("bash", "bash", &["-n"][..]),
        ("zsh", "zsh", &["-n"]),
        ("fish", "fish", &["--no-execute"]),
        ("elvish", "elvish", &["-compileonly"]),
        ("powershell", "pwsh", &["-NoProfile", "-Command"]),
    ] {
        let script = run(faam(&["completions", shell]), b"").check(0, &[]).stdout;
        let text = String::from_utf8(script).expect("UTF-8");
        assert!(
            ["decompress", "backend", "undo", "arena-bytes"]
                .iter()
                .all(|word| text.contains(word)),
            "{shell}"
        );
        if is_there(program) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("script");
            std::fs::write(&path, &text).expect("written");
            let mut check = command(program, words);
            check.arg(&path);
            let ended = run(check, b"").check(0, &[]);
            assert_eq!(ended.stderr, "", "{shell}");
        }
    }
}

#[test]
fn bash_completes_a_word() {
    let script = run(faam(&["completions", "bash"]), b"")
        .check(0, &[])
        .stdout;
    let ask = "COMP_WORDS=(faam compress --back); COMP_CWORD=2; _faam faam --back compress; echo \"${COMPREPLY[@]}\"";
    let script = format!("{}\n{ask}\n", String::from_utf8(script).expect("UTF-8"));
    let ended = run(command("bash", &["-c", &script]), b"").check(0, &[]);
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), "--backend");
}

#[test]
fn every_command_says_by_example_what_it_does() {
    let place = Place::new();
    for name in [
        "serve",
        "compress",
        "decompress",
        "device",
        "device ls",
        "device show",
        "device drain",
        "device reset",
        "device bind",
        "device unbind",
        "doctor",
        "sim",
        "completions",
        "man",
    ] {
        let words: Vec<_> = name.split(' ').chain(["--help"]).collect();
        let help = place.run(&words).check(0, &[]).stdout;
        let help = String::from_utf8(help).expect("UTF-8");
        let example = format!("faam {name} ");
        assert!(
            help.contains("Examples:") && help.contains(&example),
            "{help}"
        );
    }
}
