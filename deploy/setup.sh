# Sourced by ./headsup and ./test: installs what is missing, and says so.

say() { printf 'headsup: %s\n' "$*" >&2; }

# need COMMAND PACKAGE...: Debian packages, if the command is not there.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    command=$1; shift
    say "$command is missing; installing $*"
    if ! command -v apt-get >/dev/null 2>&1; then
        say "there is no apt-get here; install $command by hand"; exit 1
    fi
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq >&2 && $sudo apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_rust() {
    if ! command -v cargo >/dev/null 2>&1; then
        [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null 2>&1; then
        say "cargo is missing; install Rust 1.94 or newer as https://rustup.rs says, then call this again"; exit 1
    fi
    need cc gcc libc6-dev
    case $(uname -m) in
    x86_64)
        if ! grep -qw avx2 /proc/cpuinfo; then
            say "this CPU has no AVX2; remove the rustflags in .cargo/config.toml and call this again"; exit 1
        fi ;;
    esac
}

# Checks that follow each other on one machine can share what they compile. Only
# they: cargo goes by the time of a file, and a clone that is older than what another
# clone has built would be taken for built.
share_target() {
    shared="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/target"
    if [ "${CI:-}" = true ] && [ -z "${CARGO_TARGET_DIR:-}" ] && [ -d "$shared" ]; then
        CARGO_TARGET_DIR=$shared; export CARGO_TARGET_DIR
    fi
    target=${CARGO_TARGET_DIR:-$root/target}
}
