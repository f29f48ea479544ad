//! The worker as a program of its own, for this crate's tests. The product's is `strongroom files-worker`.

fn main() -> std::process::ExitCode {
    match files::answer_caged() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}
