"""`heed lineage`: what came of what, and what still holds something of erased rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from heed_cli.services import DataDir
from heed_cli.terminal import done, note, say
from heed_cli.workplace import at_workplace

if TYPE_CHECKING:
    from services.trainer.workplace import Workplace
    from shared.lineage import Origin

app = typer.Typer()


@app.command()
def lineage(
    node: Annotated[str, typer.Argument(help="`dataset:7`, `model:<id>` or `erasure:<id>`.")],
    project: Annotated[int, typer.Option(min=1)] = 1,
    data_dir: DataDir = None,
) -> None:
    """Where a dataset, model or erasure comes from, what came of it, and what taints it."""
    from shared.lineage import find_origin

    async def read(workplace: "Workplace") -> "Origin":
        async with workplace.sessions() as session:
            return await find_origin(session, node, project)

    origin = at_workplace(data_dir, read)
    if origin.is_tainted:
        note("tainted", f"{node}, by {', '.join(f'erasure:{one}' for one in origin.tainted_by)}")
    else:
        done("clean", node)
    for title, nodes in (("made from", origin.ancestors), ("made into", origin.descendants)):
        say(f"  {title}: {', '.join(nodes) or 'nothing'}")
