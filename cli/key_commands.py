"""The commands for API keys: who may ask this service from elsewhere, and what."""

from typing import Annotated

import typer

from cli.options import DataDir, settings_for

app = typer.Typer(help="API keys: who may ask this service from elsewhere, and what.", no_args_is_help=True)


@app.command("new")
def new_key(
    name: Annotated[str, typer.Option("--name", help="What the key is called; for whom or what it is.")],
    scope: Annotated[str, typer.Option("--scope", help="search, embed, ingest, admin; several with commas.")],
    expires: Annotated[str | None, typer.Option("--expires", help="After 90d, 12h, 8w, or at 2030-01-31.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once; what is kept is a hash. Running processes accept it within two seconds."""
    from cli.access import keys_file
    from cli.keys import new_key as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), name, scope, expires)))


@app.command("list")
def list_keys(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the keys by name: what they may do, and until when."""
    from cli.access import keys_file
    from cli.keys import list_keys as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), as_json=as_json)))


@app.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="The name that the key was given.")], data_dir: DataDir = None
) -> None:
    """Take a key away; running processes refuse it within two seconds."""
    from cli.access import keys_file
    from cli.keys import revoke_key as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), name)))
