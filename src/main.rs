use std::process::ExitCode;

fn main() -> ExitCode {
    objlib::cli::main()
}
