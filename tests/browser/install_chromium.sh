#!/bin/sh
# Make sure that a Chromium is there: from the packages of the system, where it is missing and this user may install them.
# Never fails: the browser tests themselves say that they cannot run, and fail in CI.
set -u

for name in "${PLAYWRIGHT_CHROMIUM:-}" chromium-headless-shell chromium chromium-browser google-chrome; do
    [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && exit 0
done

. "$(dirname "$0")/../installing.sh"
need_root Chromium chromium

echo "Installing Chromium from the packages of this system ..."
if command -v apt-get >/dev/null 2>&1; then
    apt_get_first fonts-dejavu chromium-headless-shell chromium
elif command -v dnf >/dev/null 2>&1; then
    $as_root dnf install -y -q chromium >/dev/null
elif command -v apk >/dev/null 2>&1; then
    $as_root apk add --quiet chromium font-dejavu
elif command -v pacman >/dev/null 2>&1; then
    $as_root pacman -S --noconfirm --quiet chromium >/dev/null
fi
command -v chromium-headless-shell >/dev/null 2>&1 || command -v chromium >/dev/null 2>&1 || echo "Chromium could not be installed; install it by hand, or set PLAYWRIGHT_CHROMIUM to its path." >&2
exit 0
