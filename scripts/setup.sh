#!/bin/sh
# Makes a bare clone ready: the npm dependencies of the lock file (they bring the repository's own Node), and a
# redis-server or valkey-server on the PATH. Runs before `npm run demo` and `npm test`; does nothing when nothing is
# missing. Says on stderr what it does; exits with 1, and the line to type, where it cannot.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# --- npm dependencies -------------------------------------------------------------------------------------------------

# The lock's checksum as of the last complete install; it goes with the folder when npm starts over.
stamp=node_modules/.nightshift-lock
node_works() { node_modules/.bin/node --version >/dev/null 2>&1; }
lock_sum() { cksum <package-lock.json; }

dependencies_current() {
  [ -d node_modules ] || return 1
  if [ -f "$stamp" ]; then
    [ "$(cat "$stamp")" = "$(lock_sum)" ] || return 1
  else
    # Installed by hand: npm writes its own copy of the lock last.
    [ -n "$(find node_modules/.package-lock.json -newer package-lock.json 2>/dev/null)" ] || return 1
  fi
  node_works
}

# As npm does it outside of a script: its own variables of the script that runs us would reach the nested
# `npm install` of the package `node`, and NODE_ENV=production would leave the development dependencies out.
npm_clean() (
  for name in $(env | sed -n 's/^\(npm_[A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
      # Where packages come from, and through what, is the person's choice.
      npm_config_registry | npm_config_*proxy | npm_config_cafile | npm_config_cache | npm_config_userconfig) ;;
      *) unset "$name" ;;
    esac
  done
  unset NODE_ENV INIT_CWD
  # npm ci removes node_modules: nothing may run from there meanwhile.
  PATH=$(printf %s "$PATH" | tr : '\n' | grep -v '/node_modules/' | tr '\n' :)
  PATH=${PATH%:}
  exec npm "$@"
)

install_dependencies() {
  has npm || fail 'npm is missing; install Node.js with npm (https://nodejs.org), then try again'
  say 'installing the npm dependencies (npm ci) …'
  log=$(mktemp)
  if npm_clean ci --include=dev --no-audit --no-fund --loglevel=error >"$log" 2>&1; then
    :
  elif grep -q 'EUSAGE' "$log"; then
    # A lock written where the registry hid other platforms' optional packages lacks them, and npm ci refuses it. This
    # takes everything the lock names as it names it, and leaves the lock alone.
    say 'package-lock.json is not complete for npm ci; using npm install --no-save …'
    npm_clean install --no-save --include=dev --no-audit --no-fund --loglevel=error >&2 || installed=no
  else
    cat "$log" >&2
    installed=no
  fi
  rm -f "$log"
  [ -z "${installed:-}" ] || fail 'installing the npm dependencies failed (see above); is the npm registry reachable?'
  # An npm that does not run install scripts leaves the package `node` without its program.
  node_works || npm_clean rebuild node --ignore-scripts=false --loglevel=error >&2 || true
  node_works || fail 'node_modules/.bin/node does not run; does npm forbid install scripts (ignore-scripts)?'
}

if dependencies_current; then
  [ -f "$stamp" ] || lock_sum >"$stamp"
else
  install_dependencies
  lock_sum >"$stamp"
fi

# --- Redis ------------------------------------------------------------------------------------------------------------

has redis-server && exit 0
has valkey-server && exit 0
# The demonstration uses the server of REDIS_URL where there is one; the tests always start their own.
[ "${npm_lifecycle_event:-}" = predemo ] && [ -n "${REDIS_URL:-}" ] && exit 0

sudo=
if [ "$(id -u)" != 0 ]; then sudo='sudo '; fi
as_root() {
  if [ -n "$sudo" ]; then sudo -n "$@" >&2; else "$@" >&2; fi
}

# $1: the line to type, without sudo.
need_root() {
  [ -z "$sudo" ] && return
  if ! has sudo; then fail "Redis is missing and this user may not install it; as root, type: $1"; fi
  sudo -n true 2>/dev/null || fail "Redis is missing; install it and try again: sudo $1"
}

# Debian starts a service when it installs one and enables it for the next boot. We want the program alone: a temporary
# policy-rc.d (only where there is none) forbids the start, and the service is disabled afterwards.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
remove_policy() {
  [ -z "$policy_is_ours" ] || as_root rm -f "$policy"
  policy_is_ours=
}

install_on_debian() {
  if [ -e "$policy" ]; then
    say "leaving $policy as it is: it decides whether the package starts its service now"
  else
    trap remove_policy EXIT
    trap 'exit 1' HUP INT TERM
    policy_is_ours=yes
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" || return 1
  fi
  say 'the service redis-server will be neither started nor enabled; nightshift starts its own when it needs one'
  as_root apt-get update -q || say 'apt-get update failed; trying with the package lists at hand'
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server || return 1
  if has systemctl; then
    as_root systemctl disable --now redis-server || true
  elif has update-rc.d; then
    as_root update-rc.d redis-server disable || true
  fi
  remove_policy
}

if has apt-get; then
  need_root 'apt-get install -y redis-server'
  say "redis-server is missing; installing it: ${sudo}apt-get install redis-server …"
  install_on_debian || fail "apt-get failed (see above); install redis-server by hand and try again"
elif has apk; then
  need_root 'apk add redis'
  say "redis-server is missing; installing it: ${sudo}apk add redis …"
  as_root apk add --no-cache redis || as_root apk add --no-cache valkey || fail 'apk failed (see above)'
elif has dnf; then
  need_root 'dnf install -y redis'
  say "redis-server is missing; installing it: ${sudo}dnf install redis …"
  as_root dnf install -y -q redis || as_root dnf install -y -q valkey || fail 'dnf failed (see above)'
elif has pacman; then
  need_root 'pacman -S --noconfirm valkey'
  say "redis-server is missing; installing it: ${sudo}pacman -S valkey …"
  as_root pacman -Sy --noconfirm --needed valkey || as_root pacman -S --noconfirm --needed redis ||
    fail 'pacman failed (see above)'
elif has zypper; then
  need_root 'zypper install -y redis'
  say "redis-server is missing; installing it: ${sudo}zypper install redis …"
  as_root zypper --non-interactive install redis || as_root zypper --non-interactive install valkey ||
    fail 'zypper failed (see above)'
elif has brew; then
  # Homebrew works as the person, never as root, and starts no service.
  say 'redis-server is missing; installing it: brew install redis …'
  brew install redis >&2 || fail 'brew failed (see above)'
else
  fail 'redis-server is missing and no package manager is known here; install Redis 6.2 or newer, or Valkey, and try again'
fi

hash -r
has redis-server || has valkey-server ||
  fail 'the installation reported success, but neither redis-server nor valkey-server is on the PATH'
