//! What `build.sh` asks the program and the finished images for.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod archive;
mod context;
mod sbom;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "What images/build.sh asks the program and the finished images for")]
enum Command {
    /// Write the files of the images that come from the program itself and from crates; `build.sh` adds binaries and licences
    Context {
        /// Folder of the build context
        folder: PathBuf,
    },
    /// Print the bill of materials of a finished image (`CycloneDX`): its crates, what else is linked, and every file
    Sbom(sbom::Arguments),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Context { folder } => context::write(&folder),
        Command::Sbom(arguments) => Ok(writeln!(std::io::stdout(), "{:#}", sbom::of(&arguments)?)?),
    }
}
