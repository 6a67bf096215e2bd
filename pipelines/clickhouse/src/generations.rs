//! Generations: which rows are the newest, and what becomes of the others.
//!
//! Table `generations` has a row for each (share, generation) that was begun, with the number
//! drawn for it. Views show the newest of each share.

use crate::error::Error;
use crate::server::{Server, quoted};

/// The generations of a share that a database knows, the newest first, with the numbers drawn
/// for them.
pub(crate) fn known(server: &Server, share: &str) -> Result<Vec<(u64, String)>, Error> {
    let rows = server.query(
        "read the generations",
        &format!(
            "SELECT generation, store FROM `{}`.generations FINAL WHERE share = {} ORDER BY generation DESC",
            server.database(),
            quoted(share)
        ),
    )?;
    let pairs = rows.into_iter().filter_map(|row| {
        let mut cells = row.into_iter();
        Some((cells.next()?.parse().ok()?, cells.next()?))
    });
    Ok(pairs.collect())
}

/// Notes that a generation has begun; those before it are no longer shown.
pub(crate) fn begin(
    server: &Server,
    share: &str,
    generation: u64,
    store: &str,
    store_generation: u64,
) -> Result<(), Error> {
    server.command(
        "note a new generation",
        &format!(
            "INSERT INTO `{}`.generations SELECT {}, toUInt64({generation}), {}, toUInt64({store_generation}), now()",
            server.database(),
            quoted(share),
            quoted(store),
        ),
    )
}

/// Hides the rows of a share that no process has any more, by a generation without rows. If a
/// process has it all the same, it loads everything anew when it starts again.
///
/// # Errors
/// A server that does not do it, or a share that it does not know.
pub fn forget(server: &Server, share: &str) -> Result<(), Error> {
    match known(server, share)?.first() {
        Some((newest, _)) => begin(server, share, newest + 1, "forgotten", 0),
        None => Err(Error::Configuration(format!(
            "database {} has no share \"{share}\"; `headsup clickhouse status` says which it has",
            server.database()
        ))),
    }
}

/// Removes the rows of generations that are not the newest of their share. How many there
/// were, counting what was there twice.
///
/// # Errors
/// A server that does not do it.
pub fn prune(server: &Server) -> Result<u64, Error> {
    let database = server.database();
    let newest = server.query(
        "read the generations",
        &format!("SELECT share, max(generation) FROM `{database}`.generations GROUP BY share"),
    )?;
    let parts = server.query(
        "look for older generations",
        &format!(
            "SELECT table, partition, sum(rows) FROM system.parts WHERE database = {} AND active \
             AND table LIKE 'rows_%' GROUP BY table, partition ORDER BY table, partition",
            quoted(database)
        ),
    )?;
    let mut removed = 0;
    for part in parts {
        let [table, partition, rows] = part.as_slice() else {
            continue;
        };
        // ('share',generation,month), as the server prints a tuple.
        let is_newest = newest.iter().any(|row| {
            let [share, generation] = row.as_slice() else {
                return false;
            };
            partition.starts_with(&format!("({},{generation},", quoted(share)))
        });
        if !is_newest {
            server.command(
                &format!("remove an older generation of {table}"),
                &format!("ALTER TABLE `{database}`.`{table}` DROP PARTITION {partition}"),
            )?;
            removed += rows.parse::<u64>().unwrap_or(0);
        }
    }
    Ok(removed)
}
