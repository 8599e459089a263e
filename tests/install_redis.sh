#!/bin/sh
# Make sure that a Redis or Valkey server is there: from the packages of the system, where it is missing and this user may install them.
# Never fails: the tests that need one are skipped, and say so. They start it themselves, in a folder of their own.
set -u

for name in redis-server valkey-server; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done

. "$(dirname "$0")/installing.sh"
need_root "A Redis server" redis-server

echo "Installing a Redis server from the packages of this system ..."
if command -v apt-get >/dev/null 2>&1; then
    apt_get_first "" redis-server valkey-server
elif command -v dnf >/dev/null 2>&1; then
    $as_root dnf install -y -q valkey >/dev/null 2>&1 || $as_root dnf install -y -q redis >/dev/null
elif command -v apk >/dev/null 2>&1; then
    $as_root apk add --quiet redis || $as_root apk add --quiet valkey
elif command -v pacman >/dev/null 2>&1; then
    $as_root pacman -S --noconfirm --quiet valkey >/dev/null
elif command -v brew >/dev/null 2>&1; then
    brew install --quiet redis >/dev/null
fi
command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1 || echo "A Redis server could not be installed; its tests are skipped." >&2
exit 0
