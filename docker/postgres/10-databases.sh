#!/bin/sh
# Runs once, on an empty volume: a database and a user each for Synapse (which insists on the C collation) and for us.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" \
    --set=synapse="$(cat /run/secrets/synapse_database_password)" \
    --set=etb="$(cat /run/secrets/etb_database_password)" <<'SQL'
CREATE USER synapse PASSWORD :'synapse';
CREATE DATABASE synapse OWNER synapse TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE USER etb PASSWORD :'etb';
CREATE DATABASE etb OWNER etb TEMPLATE template0 ENCODING 'UTF8';
SQL
