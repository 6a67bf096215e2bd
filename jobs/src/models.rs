//! `headsup models`: what the registry holds, and which version plays which part.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use headsup_events::format_rfc3339_ms;
use headsup_models::gates::Verdict;
use headsup_models::metrics::Comparison;
use headsup_models::registry::{By, Registry, Version};
#[cfg(feature = "train")]
use headsup_models::spec::Spec;

use crate::{Failure, Place, output};

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(subcommand)]
    what: What,
}

/// Where versions are kept.
#[derive(Debug, Clone, Args)]
pub struct RegistryArgs {
    /// The registry's folder [default: models in the data folder]
    #[arg(long, global = true, value_name = "DIR")]
    registry: Option<PathBuf>,
}

impl RegistryArgs {
    pub fn open(&self, place: &Place) -> Result<Registry, Failure> {
        let folder = match &self.registry {
            Some(folder) => folder.clone(),
            None => {
                place.must_exist()?;
                place.data.join("models")
            }
        };
        Registry::open(folder).map_err(Failure::from_error)
    }
}

#[derive(Debug, Subcommand)]
enum What {
    /// List models and their versions
    List {
        /// Only this one
        model: Option<String>,
    },
    /// Show a version: its card, its metrics, what was done to it
    Show {
        model: String,
        /// A version, champion or challenger
        #[arg(default_value = "champion")]
        version: String,
    },
    /// Compare two versions by their figures on their tests
    Compare {
        model: String,
        /// A version, champion or challenger
        one: String,
        /// A version, champion or challenger
        other: String,
    },
    /// Let a version be tried beside the champion
    Challenge { model: String, version: String },
    /// Let a version score, if it passes its gates
    Promote {
        model: String,
        /// A version or challenger
        version: String,
        /// Although it does not pass, for this reason, which is recorded
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
    },
    /// Let the champion before score again
    Rollback {
        model: String,
        /// Why; it is recorded
        #[arg(long)]
        reason: String,
    },
}

/// Specifications in `models/`.
#[cfg(feature = "train")]
const SPECS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/models.rs"));

/// A specification by the name of one that came with headsup, or the path of a file.
#[cfg(feature = "train")]
pub fn spec(model: &str) -> Result<Spec, Failure> {
    let wrong = |message: String| Failure { code: 2, message };
    let read = match SPECS.iter().find(|(name, _)| *name == model) {
        Some((name, text)) => Spec::parse(&format!("models/{name}.toml"), name, text),
        None if model.ends_with(".toml") => Spec::read(model.as_ref()),
        None => {
            let names: Vec<&str> = SPECS.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!(
                "there is no model \"{model}\"{}; there are {}, or the path of a .toml file",
                headsup_kpi::sql::did_you_mean(model, &names),
                names.join(", ")
            )));
        }
    };
    read.map_err(|error| wrong(error.to_string()))
}

/// Who asks, and when.
pub fn by() -> By {
    let who = ["HEADSUP_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    By { who: who.unwrap_or_else(|| "unknown".to_owned()), at_ms: since.as_millis() as i64 }
}

pub fn models(args: &ModelsArgs) -> Result<(), Failure> {
    let registry = args.registry.open(&args.place)?;
    match &args.what {
        What::List { model } => list(&registry, model.as_deref()),
        What::Show { model, version } => show(&registry, model, version),
        What::Compare { model, one, other } => {
            let versions =
                [one, other].map(|version| registry.load(model, version).map_err(Failure::from_error));
            let [one, other] = versions;
            output::print(comparison(&one?, &other?))
        }
        What::Challenge { model, version } => {
            registry.challenge(model, version, &by()).map_err(Failure::from_error)?;
            output::print(format!("{version} of {model} is the challenger\n"))
        }
        What::Promote { model, version, force } => {
            let loaded = registry.load(model, version).map_err(Failure::from_error)?;
            let verdict = verdict(&registry, &loaded)?;
            registry
                .promote(model, &loaded.version, &verdict, force.as_deref(), &by())
                .map_err(Failure::from_error)?;
            output::print(format!("{} of {model} is the champion\n", loaded.version))
        }
        What::Rollback { model, reason } => {
            let version = registry.rollback(model, reason, &by()).map_err(Failure::from_error)?;
            output::print(format!("{version} of {model} is the champion again\n"))
        }
    }
}

/// How a version stands before its gates today: as when it was trained, if it was held against
/// today's champion then.
fn verdict(registry: &Registry, version: &Version) -> Result<Verdict, Failure> {
    let gates = version.manifest["gates"].clone();
    let mut verdict: Verdict = serde_json::from_value(gates)
        .map_err(|error| Failure::new(format!("the manifest of {}: gates: {error}", version.version)))?;
    let champion = registry.aliases(&version.model).map_err(Failure::from_error)?.champion;
    let against = version.manifest["against"]["version"].as_str();
    if let (Some(champion), Some(gate)) =
        (&champion, verdict.gates.iter_mut().find(|gate| gate.name == "better_than_champion"))
        && against != Some(champion)
        && *champion != version.version
    {
        gate.passed = false;
        gate.note = format!(
            "it was held against {}, and the champion is {champion}; train again, which compares them",
            against.unwrap_or("none")
        );
    }
    Ok(verdict)
}

fn list(registry: &Registry, only: Option<&str>) -> Result<(), Failure> {
    let models = match only {
        Some(model) => vec![model.to_owned()],
        None => registry.models().map_err(Failure::from_error)?,
    };
    if models.is_empty() {
        return output::print("there are no models; headsup train makes them\n");
    }
    let mut table = format!(
        "{:<16}{:<18}{:<12}{:>8}{:>8}{:>8}  {}\n",
        "model", "version", "", "AUROC", "AUC-PR", "ECE", "test"
    );
    for model in models {
        for listed in registry.list(&model).map_err(Failure::from_error)? {
            let figure = |name: &str| listed.manifest["metrics"][name].as_f64().unwrap_or(f64::NAN);
            let test = &listed.manifest["data"]["test"];
            table += &format!(
                "{model:<16}{:<18}{:<12}{:>8.4}{:>8.4}{:>8.4}  {} to {}\n",
                listed.version,
                listed.aliases.join(", "),
                figure("auroc"),
                figure("auc_pr"),
                figure("ece"),
                test["from"].as_str().unwrap_or(""),
                test["to"].as_str().unwrap_or("")
            );
        }
    }
    output::print(table)
}

fn show(registry: &Registry, model: &str, version: &str) -> Result<(), Failure> {
    let loaded = registry.load(model, version).map_err(Failure::from_error)?;
    let card = loaded.files.get("MODEL_CARD.md").map(|card| String::from_utf8_lossy(card).into_owned());
    let mut text = card.unwrap_or_default();
    text += &format!("\nFolder: {}\nFiles: {}\n", loaded.folder.display(), {
        let names: Vec<&str> = loaded.files.keys().map(String::as_str).collect();
        names.join(", ")
    });
    for entry in registry.history(model).map_err(Failure::from_error)? {
        if entry.version == loaded.version {
            text += &format!(
                "{} {} by {}{}{}\n",
                format_rfc3339_ms(entry.at_ms),
                serde_json::to_value(entry.what)
                    .ok()
                    .and_then(|what| what.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                entry.who,
                if entry.forced { ", forced" } else { "" },
                entry.why.map(|why| format!(": {why}")).unwrap_or_default()
            );
        }
    }
    output::print(text)
}

fn comparison(one: &Version, other: &Version) -> String {
    let mut table = format!("{:<14}{:>18}{:>18}{:>12}\n", "", one.version, other.version, "difference");
    for name in ["auroc", "auc_pr", "brier", "ece", "log_loss", "base_rate"] {
        let [a, b] =
            [one, other].map(|version| version.manifest["metrics"][name].as_f64().unwrap_or(f64::NAN));
        table += &format!("{name:<14}{a:>18.4}{b:>18.4}{:>+12.4}\n", b - a);
    }
    for version in [one, other] {
        let against: Option<Comparison> =
            serde_json::from_value(version.manifest["against"]["comparison"].clone()).ok();
        if let Some(Comparison { difference, low, high, .. }) = against {
            table += &format!(
                "{} against {} on the same rows: AUC-PR {difference:+.4}, {low:+.4} to {high:+.4} (95 %)\n",
                version.version,
                version.manifest["against"]["version"].as_str().unwrap_or("")
            );
        }
    }
    if one.manifest["data"]["hash"] != other.manifest["data"]["hash"] {
        table += "they were trained and tested on different rows: the differences are of those too\n";
    }
    table
}
