//! All settings, and the only reader of flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use contract::event::LARGEST;
use contract::flag;
use jiff::SignedDuration;

/// Flags of the program.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "audit-receiver",
    version,
    // A later flag wins, so that a Deployment's arguments can be added to.
    args_override_self = true,
    about = "Keeps the audit events of KubernetesExecutions in PostgreSQL"
)]
pub struct Flags {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Log level, or tracing's filter
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = flag::log_level, global = true)]
    pub log_level: String,
    /// `json`, or `text`
    #[arg(long, env = "LOG_FORMAT", default_value = "json", value_parser = ["json", "text"], global = true)]
    pub log_format: String,
}

/// What the program can do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Take events over HTTP and keep them, until it is told to stop
    Serve(Box<ServeFlags>),
    /// Create or update the tables, make the partitions of this month and the next, and end
    Migrate(MigrateFlags),
    /// Print the rows of a query as JSON, one a line
    Query(QueryFlags),
}

/// The database.
#[derive(Clone, clap::Args)]
pub struct DatabaseFlags {
    /// PostgreSQL, as for libpq: `postgresql://user@host/name`, or `host=/run/postgresql dbname=audit user=audit`;
    /// with a password in it, set the variable and not the flag, which `ps` shows
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database: String,
    /// Certificate authorities (PEM) of PostgreSQL: connections are then over TLS, and the server's certificate must be from
    /// one of them and for the host; read again for each connection. Without it there is no TLS
    #[arg(long)]
    pub database_ca: Option<PathBuf>,
}

// The password is in it.
impl std::fmt::Debug for DatabaseFlags {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DatabaseFlags")
    }
}

/// Flags of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeFlags {
    /// The database
    #[command(flatten)]
    pub database: DatabaseFlags,
    /// Address to listen at
    #[arg(long, default_value = "0.0.0.0:8085", value_parser = flag::address)]
    pub listen: SocketAddr,
    /// File of bearer tokens, one a line, each of which is taken; read again for each request
    #[arg(long, required_unless_present = "insecure_no_token")]
    pub token_file: Option<PathBuf>,
    /// Take events from anybody
    #[arg(long, conflicts_with = "token_file")]
    pub insecure_no_token: bool,
    /// Certificate chain (PEM) to serve with; read again for each connection
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The most bytes of an event; at least as many as an executor's may have
    #[arg(long, default_value = "262144", value_parser = parse_largest)]
    pub largest_event: usize,
    /// The most connections to the database
    #[arg(long, default_value_t = 4, value_parser = parse_connections)]
    pub connections: usize,
    /// Leave tables and partitions alone, for an account that may only write rows: then run `migrate` daily
    #[arg(long)]
    pub no_migrate: bool,
    /// Age at which events are deleted, by whole months, such as 400d; by default never
    #[arg(long, value_parser = parse_days, conflicts_with = "no_migrate")]
    pub retain: Option<SignedDuration>,
}

/// Flags of `migrate`.
#[derive(Debug, Clone, clap::Args)]
pub struct MigrateFlags {
    /// The database
    #[command(flatten)]
    pub database: DatabaseFlags,
    /// Age at which events are deleted, by whole months, such as 400d; by default never
    #[arg(long, value_parser = parse_days)]
    pub retain: Option<SignedDuration>,
}

/// Flags of `query`.
#[derive(Debug, Clone, clap::Args)]
pub struct QueryFlags {
    /// The database
    #[command(flatten)]
    pub database: DatabaseFlags,
    /// The query
    #[command(subcommand)]
    pub query: Query,
}

/// The queries.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Query {
    /// Executions that ended without success, the newest first
    Failures {
        /// How far to look back
        #[arg(long, value_parser = parse_period, default_value = "1d")]
        since: SignedDuration,
    },
    /// Durations of attempts by action: count, median, 95th percentile
    Durations {
        /// How far to look back
        #[arg(long, value_parser = parse_period, default_value = "30d")]
        since: SignedDuration,
    },
    /// Who asked for what, and how often that failed
    Requesters {
        /// How far to look back
        #[arg(long, value_parser = parse_period, default_value = "30d")]
        since: SignedDuration,
    },
    /// All executions of one workflow, in the order of its steps
    Workflow {
        /// Namespace of the workflow
        namespace: String,
        /// Name of the workflow
        name: String,
    },
}

/// The longest period: what is further back than PostgreSQL's and jiff's years is not asked for.
const MOST_DAYS: i64 = 36_500;

fn parse_period(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("expected days or hours such as 30d or 36h, at most {MOST_DAYS}d, got {text:?}");
    let (number, hours) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(number), _) => (number, 24),
        (None, Some(number)) => (number, 1),
        (None, None) => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let hours = i64::from(number) * hours;
    if hours == 0 || hours > MOST_DAYS * 24 { Err(wrong()) } else { Ok(SignedDuration::from_hours(hours)) }
}

fn parse_days(text: &str) -> Result<SignedDuration, String> {
    let period = parse_period(text).ok().filter(|_| text.ends_with('d'));
    period.ok_or_else(|| format!("expected a number of days such as 400d, at most {MOST_DAYS}d, got {text:?}"))
}

/// What is refused as too large is refused for good: an executor puts it into its spool.
fn parse_largest(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number >= LARGEST);
    number.ok_or_else(|| format!("expected at least {LARGEST} bytes, which an event may have, got {text:?}"))
}

fn parse_connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to 1000, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("400d", Some(400 * 24))]
    #[case("36h", Some(36))]
    #[case("0d", None)]
    #[case("-1d", None)]
    #[case("4e2d", None)]
    #[case("400", None)]
    #[case("d", None)]
    #[case("36501d", None)]
    fn a_period_is_days_or_hours(#[case] text: &str, #[case] hours: Option<i64>) {
        assert_eq!(parse_period(text).ok(), hours.map(SignedDuration::from_hours));
    }

    #[test]
    fn what_is_deleted_is_not_asked_for_in_hours() {
        assert_eq!(parse_days("2d"), Ok(SignedDuration::from_hours(48)));
        assert!(parse_days("48h").unwrap_err().contains("days such as 400d"));
    }

    #[rstest]
    #[case(&["serve"], "--token-file <TOKEN_FILE>")]
    #[case(&["serve", "--token-file", "t", "--insecure-no-token"], "cannot be used with")]
    #[case(&["serve", "--insecure-no-token", "--tls-cert", "c"], "--tls-key <TLS_KEY>")]
    #[case(&["serve", "--insecure-no-token", "--no-migrate", "--retain", "9d"], "cannot be used with")]
    #[case(&["serve", "--insecure-no-token", "--connections", "0"], "from 1 to 1000")]
    #[case(&["serve", "--insecure-no-token", "--largest-event", "65535"], "expected at least 65536 bytes")]
    #[case(&["serve", "--insecure-no-token", "--listen", "8085"], "an IP address and a port")]
    fn flags_that_do_not_fit_are_named(#[case] flags: &[&str], #[case] named: &str) {
        let all =
            ["audit-receiver", "--log-level=info"].into_iter().chain(flags.iter().copied()).chain(["--database=x"]);
        let error = Flags::try_parse_from(all).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }

    #[test]
    fn the_password_is_in_no_debug_output_and_no_help() {
        use clap::CommandFactory;
        let flags = Flags::try_parse_from(["x", "migrate", "--database", "postgresql://u:geheim@h/d"])
            .map(|one| format!("{one:?}"));
        assert!(!flags.unwrap().contains("geheim"));
        let command = Flags::command();
        let database = command.find_subcommand("serve").unwrap().get_arguments().find(|one| one.get_id() == "database");
        assert!(database.unwrap().is_hide_env_values_set());
    }
}
