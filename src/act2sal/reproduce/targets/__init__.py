"""Tables and figures of the paper by their names on the command line; a further one is a file and a line here."""

from act2sal.reproduce.bench import Target
from act2sal.reproduce.targets import (
    fig1,
    fig4,
    fig5,
    fig7,
    fig8,
    fig9,
    fig10,
    fig11,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
    table7,
    table8,
)

TARGETS: dict[str, Target] = {
    "table1": table1.TARGET,
    "table2": table2.TARGET,
    "table3": table3.TARGET,
    "table4": table4.TARGET,
    "table5": table5.TARGET,
    "table6": table6.TARGET,
    "table7": table7.TARGET,
    "table8": table8.TARGET,
    "fig1": fig1.TARGET,
    "fig4": fig4.TARGET,
    "fig5": fig5.TARGET,
    "fig7": fig7.TARGET,
    "fig8": fig8.TARGET,
    "fig9": fig9.TARGET,
    "fig10": fig10.TARGET,
    "fig11": fig11.TARGET,
}
