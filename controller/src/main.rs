//! The program; all of it is in the library, where the tests start it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    controller::program(std::env::args_os())
}
