# Sourced by the scripts that install what tests need from the packages of the system.

# Set `as_root`. Where this user may install nothing, say what is missing and end; that is no failure.
#   need_root WHAT PACKAGE
need_root() {
    as_root=""
    [ "$(id -u)" -eq 0 ] && return
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
        return
    fi
    echo "$1 is missing, and this user may not install it. Install the package '$2', then run this again." >&2
    exit 0
}

# Install the first of some packages that there is, and others along with it.
#   apt_get_first "OTHERS" PACKAGE ...
apt_get_first() {
    others="$1"
    shift
    $as_root apt-get update -qq >/dev/null 2>&1
    for package in "$@"; do
        # shellcheck disable=SC2086  # several words
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" $others >/dev/null 2>&1 && return
    done
}
