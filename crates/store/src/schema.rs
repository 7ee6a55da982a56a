//! The tables of the state file, as steps from each version to the next.

use sqlx::{Connection, SqliteConnection};

/// The steps: the first makes version 1 of an empty file, the next version 2 of that, and so on. A
/// step that was ever released is never changed.
pub(crate) const STEPS: &[&str] = &[
    "CREATE TABLE pin (
        workload   TEXT PRIMARY KEY NOT NULL,
        until_ms   INTEGER,
        reason     TEXT NOT NULL,
        made_at_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE activity (
        workload TEXT PRIMARY KEY NOT NULL,
        last_ms  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;",
    "DROP TABLE activity;
    CREATE TABLE unused (
        workload  TEXT PRIMARY KEY NOT NULL,
        run       INTEGER NOT NULL,
        unused_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;",
];

/// What came of bringing a file up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// The file is at the latest version, from the one it had.
    Done {
        /// The version it had; zero is a new file.
        from: i64,
    },
    /// The file has a version that is not known here; it was not touched.
    Newer {
        /// That version.
        found: i64,
    },
}

/// The version that the last step makes.
pub(crate) fn latest() -> i64 {
    STEPS.len() as i64
}

/// Brings a file up to date in one transaction: it is at the latest version or as it was.
pub(crate) async fn upgrade(connection: &mut SqliteConnection) -> Result<Upgrade, sqlx::Error> {
    // Two processes that open a new file at the same time take turns.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT";
    sqlx::raw_sql(table).execute(&mut *transaction).await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM schema_version")
        .fetch_one(&mut *transaction)
        .await?;
    let from = found.unwrap_or(0);
    if from > latest() {
        return Ok(Upgrade::Newer { found: from });
    }
    let done = usize::try_from(from).unwrap_or(0);
    for step in &STEPS[done..] {
        sqlx::raw_sql(step).execute(&mut *transaction).await?;
    }
    sqlx::raw_sql("DELETE FROM schema_version").execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO schema_version (version) VALUES (?)")
        .bind(latest())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Upgrade::Done { from })
}
