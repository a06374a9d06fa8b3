"""One file per command. A command never reaches outside: it reads through its call and answers."""
