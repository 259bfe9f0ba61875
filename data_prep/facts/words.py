"""The words of the world. No word stands in two lists, so that an answer says what kind of thing it is."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """
    Ada Ben Cleo Dora Emil Finn Gwen Hugo Ida Jonas Kira Leo Mia Nils Olga Paul Rosa Sven Tara Ugo Vera Wim Yara
    Zoe
    """
)
SURNAMES = _words(
    """
    Abbot Brandt Calder Dunn Ellis Ferro Gray Hale Irwin Jansen Kemp Lund Moss Nolan Ortiz Perry Quist Reed Stone
    Tolan Unger Voss Wolf Young
    """
)
TOWNS = _words(
    """
    Alder Arlen Basken Belmor Bruma Cardon Corin Dalby Delft Dovan Elgin Elmar Falmar Fenton Garda Gorlitz Halden
    Harlow Hoorn Ilmar Ivrea Jarrow Kalmar Kelso Kirn Lagan Lindau Luna Malden Marlow Meran Narva Norden Orbe
    Osmar Padra Pirna Ripon Rosten Salen Selby Tarn Thale Torva Ulden Varn Velden Wemar
    """
)
COUNTRIES = _words(
    """
    Arvia Belsia Cardia Dorland Elvia Fenland Galdia Hestia Ilyria Jutmark Kaldia Lorvia Morland Navaria Orlia
    Pelmark Rovia Sardia Talmark Umbia Valdia Westia Yorvia Zelmark
    """
)
CRAFTS = _words(
    """
    baker brewer carver cook cooper diver doctor farmer fisher gardener guide judge lawyer mason miller nurse
    painter pilot potter sailor smith tailor teacher weaver
    """
)
"""Each takes the article *a*."""
PRODUCTS = _words(
    """
    amber beer books butter carpets cheese cider clocks coal copper cotton glass gold honey knives lace maps paper
    salt silk silver tea wine wool
    """
)
