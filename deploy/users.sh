#!/bin/sh
# Print the server's ACL file: users.acl with each user on a line of its own, and of each password only its hash.
#
#   ./users.sh > secrets/users.acl
#
# Passwords come from .env, or the file given: WORKER_PASSWORD=..., and while it is being changed WORKER_PASSWORD_OLD=...
# too. Nobody can log in as a user without a password.
set -eu
directory=$(dirname "$0")
env=${1:-$directory/.env}
[ -r "$env" ] || { echo "users.sh: cannot read $env" >&2; exit 1; }

hashes() {
    sed -n "s/^$1\(_OLD\)\{0,1\}=\(.\{1,\}\)/\2/p" "$env" | while read -r password; do
        printf '#%s ' "$(printf '%s' "$password" | sha256sum | cut -c 1-64)"
    done
}

sed -e '/^ *#/d' -e '/^ *$/d' "$directory/users.acl" |
    awk '/^user / && NR > 1 { print "" } { sub(/^ +/, " "); printf "%s", $0 } END { print "" }' |
    while read -r user; do
        name=$(expr "$user" : '.*{\([A-Z]*_PASSWORD\)}') || name=
        if [ -n "$name" ]; then
            found=$(hashes "$name")
            [ -n "$found" ] || echo "users.sh: no $name in $env: nobody can log in as this user" >&2
            user="${user%%"{$name}"*}${found% }${user#*"{$name}"}"
        fi
        printf '%s\n' "$user"
    done
