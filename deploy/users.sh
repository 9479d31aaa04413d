#!/bin/sh
# Write the server's ACL file: users.acl with each user on a line of its own, and of each password only its hash.
#
#   ./users.sh secrets/users.acl [.env]
#
# Passwords come from .env: WORKER_PASSWORD=..., and while it is being changed WORKER_PASSWORD_OLD=... too. Nobody can
# log in as a user without a password. The file is written last and in place: a server that loads an empty one is open
# to everybody, and a container sees a mounted file only as long as it is the same one.
set -eu
directory=$(dirname "$0")
file=${1:?usage: users.sh FILE [ENV]}
env=${2:-$directory/.env}

hashes() {
    sed -n "s/^$1\(_OLD\)\{0,1\}=\(.\{1,\}\)/\2/p" "$env" | while read -r password; do
        printf '#%s ' "$(printf '%s' "$password" | sha256sum | cut -c 1-64)"
    done
}

one_line_each() {
    sed -e '/^ *#/d' -e '/^ *$/d' "$directory/users.acl" |
        awk '/^user / && NR > 1 { print "" } { sub(/^ +/, " "); printf "%s", $0 } END { print "" }'
}

with_hashes() {
    while read -r user; do
        name=$(expr "$user" : '.*{\([A-Z]*_PASSWORD\)}') || name=
        if [ -n "$name" ]; then
            found=$(hashes "$name")
            [ -n "$found" ] || echo "users.sh: no $name in $env: nobody can log in as this user" >&2
            user="${user%%"{$name}"*}${found% }${user#*"{$name}"}"
        fi
        printf '%s\n' "$user"
    done
}

for needed in "$env" "$directory/users.acl"; do
    [ -r "$needed" ] || { echo "users.sh: cannot read $needed" >&2; exit 1; }
done
users=$(one_line_each | with_hashes)
printf '%s\n' "$users" >"$file"
