//! `faam serve`'s flags: those of the table of settings, and the few that are no settings.
//!
//! Owns their help. What they set is the table's, in which order sources count is `sources`'.

use std::path::PathBuf;

use clap::builder::{StyledStr, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use faam_gateway::config::GatewayConfig;

use super::settings::{Draft, Kind, SETTINGS, Setting};
use super::sources::{SettingsError, Sources};
use crate::cli::LogFlags;

const EXAMPLES: &str = "\
Examples:
  faam serve
      http://127.0.0.1:8080, one simulated card, a key of its own in ./data/demo.key
  faam serve --devices none
      the CPU engines alone
  faam serve --devices sim:2 --engines 4 --pace 250
      two simulated cards that keep the pace of a 250 MHz clock
  faam serve --devices vfio-user:/run/faam/card0
      a card that `faam sim --dir /run/faam/card0` serves
  faam serve --devices pci:0000:3b:00.0+0000:3b:00.1
      both functions of a card in this machine, bound to vfio-pci
  faam serve --tls-cert server.pem --tls-key server.key --unix-listen /run/faam/faam.sock
      HTTPS, and plain HTTP for whoever may open the socket
  faam serve --config faam.toml --check
      every setting, where its value comes from, and whether this machine can serve it
  FAAM_BOOTSTRAP_KEY=faam_$(openssl rand -hex 24) faam serve --listen 0.0.0.0:8080
      reachable from other machines, with a key that you chose

Settings come from the file, then from the environment, then from flags; the later is stronger. The file is TOML:
  listen = \"127.0.0.1:8080\"
  devices = [\"sim:2\"]
  [http]
  body_bytes_max = \"256 MiB\"
  [tenant]
  in_flight_max = 64
With --allow-faults, `faam device fault fpga0 RULE` has a simulated card fail (see its --help), and so do
  faam serve --allow-faults --sim-fault engine-hangs,function=1,after=100,times=1
Each key has a variable (FAAM_LISTEN, FAAM_HTTP_BODY_BYTES_MAX); `faam man faam.toml` describes them all.";

/// Serve compression over HTTP; with no flags, on a simulated card of its own
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) log: LogFlags,
    /// Settings as TOML [env: FAAM_CONFIG]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingFlags,
    /// Let the simulated cards be told to fail: by --sim-fault and --sim-faults, and by `faam device fault` while they run
    #[arg(long)]
    allow_faults: bool,
    /// Do not serve: show every setting and where it comes from, check that it can be served here, and exit 0 or 1
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: as JSON
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}

impl Serve {
    /// The settings from all sources.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub(crate) fn sources(&self) -> Result<Sources, SettingsError> {
        let file = self.config.clone().or_else(|| {
            let path = std::env::var_os("FAAM_CONFIG").filter(|path| !path.is_empty());
            path.map(PathBuf::from)
        });
        let variable = |name: &str| std::env::var_os(name);
        let mut sources = Sources::read(file.as_deref(), variable, &self.settings.0)?;
        sources.draft.simulated.faults.allowed = self.allow_faults;
        Ok(sources)
    }

    /// What the gateway is started with.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub(crate) fn configuration(&self) -> Result<GatewayConfig, SettingsError> {
        self.sources()?
            .draft
            .finish()
            .map_err(SettingsError::Together)
    }
}

/// The flags of the table that were given, with their values.
#[derive(Default)]
struct SettingFlags(Vec<(&'static Setting, Vec<String>)>);

impl std::fmt::Debug for SettingFlags {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = self.0.iter().map(|(setting, values)| (setting.key, values));
        formatter.debug_map().entries(given).finish()
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let draft = Draft::default();
        SETTINGS.iter().fold(command, |command, setting| {
            let Some((flag, value_name)) = setting.flag else {
                return command;
            };
            let default = match setting.shown(&draft).as_str() {
                "none" | "" => String::new(),
                shown => format!(" [default: {shown}]"),
            };
            let help = format!("{} [env: {}]{default}", setting.about, setting.variable());
            let check =
                clap::builder::StringValueParser::new().try_map(|text| setting.check(&text));
            let mut arg = Arg::new(setting.key)
                .long(flag)
                .value_name(value_name)
                .value_parser(ValueParser::new(check))
                .help(StyledStr::from(help));
            if setting.kind == Kind::List {
                arg = arg.action(ArgAction::Append).value_delimiter(',');
            }
            if setting.kind == Kind::Rules {
                arg = arg.action(ArgAction::Append);
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let with_flag = SETTINGS.iter().filter(|setting| setting.flag.is_some());
        let given = with_flag.filter_map(|setting| {
            let values = matches.get_many::<String>(setting.key)?;
            Some((setting, values.cloned().collect()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn serve(flags: &[&str]) -> Result<GatewayConfig, String> {
        let line = Line::try_parse_from([&["serve"], flags].concat())
            .map_err(|error| error.to_string())?;
        line.serve
            .configuration()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn with_no_flags_there_is_one_simulated_card() {
        let config = serve(&[]).expect("accepted");
        assert_eq!(
            config.dispatch.cards,
            [CardSource::OwnSimulated {
                model: faam_sim::Model::Functional,
                engines: 1,
                pace_mhz: None,
                slots: SimulatedSlots::default(),
                faults: SimulatedFaults::default()
            }]
        );
        assert!(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback());
    }

    #[test]
    fn devices_are_listed_one_by_one() {
        let flags = [
            "--devices",
            "sim:2",
            "--engines",
            "4",
            "--pace",
            "250",
            "--devices",
            "vfio-user:/run/card",
        ];
        let config = serve(&flags).expect("accepted");
        let own = CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 4,
            pace_mhz: Some(250),
            slots: SimulatedSlots::default(),
            faults: SimulatedFaults::default(),
        };
        assert_eq!(
            config.dispatch.cards,
            [
                own.clone(),
                own,
                CardSource::VfioUser {
                    dir: "/run/card".into()
                }
            ]
        );
        let none = serve(&["--devices", "none"]).expect("accepted");
        assert_eq!(none.dispatch.cards, []);
        for bad in ["sim:0", "gpu"] {
            let error = serve(&["--devices", bad]).expect_err(bad);
            assert!(error.contains("vfio-user:DIR"), "{error}");
        }
        assert!(serve(&["--devices", "none", "--devices", "sim"]).is_err());
        for alone in [["--sim-fault", "gone"], ["--sim-faults", "plan.toml"]] {
            let error = serve(&alone).expect_err("faults are asked for twice");
            assert!(error.contains("--allow-faults"), "{error}");
        }
        let error = serve(&["--allow-faults", "--sim-fault", "no-such"]).expect_err("a name");
        assert!(error.contains("engine-hangs"), "{error}");
        // A model is known by its name, and has to be in this build.
        let error = serve(&["--sim-model", "verilog"]).expect_err("no model");
        assert!(error.contains("functional or rtl"), "{error}");
        let rtl = serve(&["--sim-model", "rtl"]);
        match faam_sim::Model::Rtl.is_built_in() {
            true => drop(rtl.expect("accepted")),
            false => {
                let error = rtl.expect_err("not in this build");
                assert!(error.contains("cargo build --features rtl"), "{error}");
            }
        }
        let flags = [
            "--allow-faults",
            "--sim-faults",
            "plan.toml",
            "--sim-fault",
            "gone,ms=5",
            "--sim-fault",
            "flips-a-bit",
        ];
        let failing = serve(&flags).expect("accepted");
        let CardSource::OwnSimulated { faults, .. } = &failing.dispatch.cards[0] else {
            panic!("{failing:?}");
        };
        let expected = SimulatedFaults {
            allowed: true,
            file: Some("plan.toml".into()),
            rules: vec!["gone,ms=5".to_owned(), "flips-a-bit".to_owned()],
        };
        assert_eq!(*faults, expected);
    }

    #[test]
    fn the_data_directory_is_that_of_the_cards_too() {
        let config = serve(&["--data-dir", "/tmp/x"]).expect("accepted");
        assert_eq!(config.data_dir, PathBuf::from("/tmp/x"));
        assert_eq!(config.dispatch.data_dir, config.data_dir);
    }

    #[test]
    fn listeners_are_chosen_by_flags() {
        let unix = ["--unix-listen", "/run/faam.sock", "--unix-mode", "0600"];
        let unix = serve(&unix).expect("accepted").unix_listen.expect("there");
        assert_eq!((unix.path, unix.mode), ("/run/faam.sock".into(), 0o600));
        let flags = [
            "--tls-cert",
            "a.pem",
            "--tls-key",
            "a.key",
            "--tls-client-ca",
            "ca.pem",
        ];
        let tls = serve(&flags).expect("accepted").tls.expect("there");
        assert_eq!(tls.client_ca, Some("ca.pem".into()));
        for half in [
            &flags[..2],
            &flags[2..4],
            &flags[4..],
            &["--unix-mode", "9"],
        ] {
            assert!(serve(half).is_err(), "{half:?}");
        }
    }
}
