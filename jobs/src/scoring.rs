//! What scores customers during a run: the champions of a registry.

use std::path::Path;

use headsup_runtime::{Job, MakeScores};
use headsup_tasks::Rules;

use crate::Failure;

#[cfg(not(feature = "score"))]
pub struct Scores(std::convert::Infallible);

#[cfg(not(feature = "score"))]
impl Scores {
    pub fn make(&self) -> MakeScores {
        match self.0 {}
    }
}

/// There is none without the feature; a registry says so.
#[cfg(not(feature = "score"))]
pub fn scores(registry: &Path, _policy: Rules, _job: &Job) -> Result<Option<Scores>, Failure> {
    if registry.exists() {
        eprintln!(
            "note: nobody is scored by the models in {}, because this headsup was built without scoring; build it with \
             --features score",
            registry.display()
        );
    }
    Ok(None)
}

#[cfg(feature = "score")]
pub use with::scores;

#[cfg(feature = "score")]
mod with {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use headsup_connectors::store;
    use headsup_features::Definitions;
    use headsup_models::reasons::{Reasons, STANDARD};
    use headsup_models::registry::{Aliases, Registry};
    use headsup_operators::{Windows, WindowsError};
    use headsup_runtime::Role;
    use headsup_scoring::{Acting, Model, News, Scoring, Switch, Timeline};

    use super::{Failure, Job, MakeScores, Path, Rules};
    use crate::features;

    /// How often the registry is looked at for a new champion.
    const LOOK: Duration = Duration::from_secs(2);

    /// The models of a registry that serve.
    pub struct Scores {
        registry: Registry,
        folder: PathBuf,
        data: PathBuf,
        tick_ms: i64,
        definitions: Arc<Definitions>,
        names: Vec<String>,
        policy: Arc<Rules>,
        news: Arc<Mutex<Vec<News>>>,
    }

    /// What serves in a run over all events: the registry's models and those that the policy asks for, which may get
    /// their first champion later. `None` without a registry, and if no specification says when customers are scored.
    pub fn scores(registry: &Path, policy: Rules, job: &Job) -> Result<Option<Arc<Scores>>, Failure> {
        if !registry.exists() || job.role != Role::All {
            return Ok(None);
        }
        let definitions = Arc::new(features::standard()?);
        let folder = registry.to_owned();
        let registry = Registry::open(registry).map_err(Failure::from_error)?;
        let mut names = Vec::new();
        let mut seen = BTreeMap::new();
        let mut any = false;
        let stored = registry.models().map_err(Failure::from_error)?;
        let wanted = policy.campaigns.iter().map(|campaign| campaign.model.clone());
        for name in stored.iter().cloned().chain(wanted).collect::<BTreeSet<_>>() {
            let aliases = match stored.contains(&name) {
                true => registry.aliases(&name).map_err(Failure::from_error)?,
                false => Aliases::default(),
            };
            let champion = load(&registry, &definitions, &name, aliases.champion.as_deref())?;
            if champion.is_some() || aliases.champion.is_none() {
                any |= champion.is_some();
                seen.insert(name.clone(), aliases);
                names.push(name);
            }
        }
        let can = definitions.tables().iter().all(|table| job.config.store_tables.contains(table));
        if names.is_empty() || !any && !can {
            return Ok(None);
        }
        for table in definitions.tables() {
            if !job.config.store_tables.contains(&table) {
                return Err(Failure::new(format!(
                    "customers cannot be scored without stored facts, which features are made from after a restart: \
                     store.tables has no {}; add it, or name an empty folder with --registry",
                    table.name()
                )));
            }
        }
        let news = Arc::new(Mutex::new(Vec::new()));
        let scores = Scores {
            registry,
            folder,
            data: job.data.clone(),
            tick_ms: job.config.scoring_tick_ms,
            definitions,
            names,
            policy: Arc::new(policy),
            news,
        };
        let scores = Arc::new(scores);
        let watching = scores.clone();
        std::thread::Builder::new()
            .name("models".to_owned())
            .spawn(move || watching.watch(seen))
            .map_err(|error| Failure::new(format!("cannot watch the models: {error}")))?;
        Ok(Some(scores))
    }

    fn load(
        registry: &Registry,
        definitions: &Definitions,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<Model>>, Failure> {
        let Some(version) = version else { return Ok(None) };
        let version = registry.load(name, version).map_err(Failure::from_error)?;
        Ok(Model::new(&version, definitions).map_err(Failure::from_error)?.map(Arc::new))
    }

    impl Scores {
        /// What a run calls for the operator.
        pub fn make(self: &Arc<Self>) -> MakeScores {
            let scores = self.clone();
            Arc::new(move |goes_on| {
                scores.operator(goes_on).map_err(|failure| WindowsError::from(failure.message))
            })
        }

        fn operator(&self, goes_on: bool) -> Result<Box<dyn Windows>, Failure> {
            let reasons = Reasons::read(STANDARD).map_err(Failure::from_error)?;
            let mut scoring =
                Scoring::new(self.definitions.clone(), reasons, self.tick_ms, self.news.clone());
            for name in &self.names {
                let folder = self.folder.join(name);
                std::fs::create_dir_all(&folder)
                    .map_err(|error| Failure::new(format!("cannot make {}: {error}", folder.display())))?;
                let mut timeline =
                    Timeline::open(folder.join("serving.jsonl")).map_err(Failure::from_error)?;
                // Of a model that nobody has trained yet there are none.
                let aliases = self.registry.aliases(name).unwrap_or_default();
                if timeline.switches().is_empty() {
                    let Aliases { champion, challenger } = aliases.clone();
                    timeline
                        .push(Switch { at_ms: i64::MIN, champion, challenger })
                        .map_err(Failure::from_error)?;
                }
                // Somebody may have promoted another one while nothing ran.
                let last = timeline.switches().last();
                if last.is_some_and(|last| {
                    (&last.champion, &last.challenger) != (&aliases.champion, &aliases.challenger)
                }) {
                    self.tell(name, &aliases)?;
                }
                let switches = timeline.switches().iter();
                let versions: BTreeSet<String> = switches
                    .flat_map(|switch| [&switch.champion, &switch.challenger])
                    .flatten()
                    .cloned()
                    .collect();
                let loaded = versions
                    .iter()
                    .map(|version| load(&self.registry, &self.definitions, name, Some(version)));
                let loaded: Vec<_> = loaded.collect::<Result<_, _>>()?;
                scoring.serve(name, timeline, loaded.into_iter().flatten().collect());
            }
            let mut acting = Acting::new(scoring, self.policy.clone());
            for table in self.definitions.tables().into_iter().filter(|_| goes_on) {
                let files =
                    store::read_table(&self.data.join("facts"), table.name()).map_err(Failure::from_error)?;
                for batch in files {
                    let batch = batch.map_err(Failure::from_error)?;
                    acting.learn(table, &batch).map_err(|error| Failure::new(error.to_string()))?;
                }
            }
            acting.learned();
            Ok(Box::new(acting))
        }

        /// Tells the operator which versions serve from now on.
        fn tell(&self, name: &str, aliases: &Aliases) -> Result<(), Failure> {
            let load =
                |version: &Option<String>| load(&self.registry, &self.definitions, name, version.as_deref());
            let (champion, challenger) = (load(&aliases.champion)?, load(&aliases.challenger)?);
            let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
            news.push(News { model: name.to_owned(), champion, challenger });
            Ok(())
        }

        /// Tells of new champions and challengers until the process ends.
        fn watch(&self, mut seen: BTreeMap<String, Aliases>) {
            loop {
                for name in &self.names {
                    let Ok(aliases) = self.registry.aliases(name) else { continue };
                    if seen.get(name) == Some(&aliases) {
                        continue;
                    }
                    if let Err(failure) = self.tell(name, &aliases) {
                        eprintln!(
                            "headsup: what has changed among the versions of {name} is not taken up: {}",
                            failure.message
                        );
                    }
                    seen.insert(name.clone(), aliases);
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}
