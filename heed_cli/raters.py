"""`heed raters lookup`."""

from typing import TYPE_CHECKING, Annotated

import typer

from heed_cli.services import DataDir
from heed_cli.terminal import say
from heed_cli.workplace import at_workplace

if TYPE_CHECKING:
    from services.trainer.workplace import Workplace

app = typer.Typer(help="Find the pseudonym of a rater.", no_args_is_help=True)


@app.callback()
def _raters() -> None:
    """Keeps `lookup` a command of its own."""


@app.command()
def lookup(
    identity: Annotated[str, typer.Argument(help="The id as your application sent it.")],
    project: Annotated[int, typer.Option(min=1, help="The project it was sent to.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """The pseudonym under which a rater's rows are stored, and how many are live."""
    from services.trainer.queries import count_posts_of
    from shared.privacy import pseudonym

    async def look(workplace: "Workplace") -> tuple[str, int]:
        rater = pseudonym(workplace.secret, project, "rater", identity)
        async with workplace.sessions() as session:
            return rater, await count_posts_of(session, rater, project)

    rater, posts = at_workplace(data_dir, look)
    say(f"{rater}  {posts} live posts")
