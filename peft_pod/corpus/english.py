"""Lists of English words by which features of items are told from other words, without a model of the language."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _words(
    """a an the this that these those my your his her its our their some any no each every another which what whose all
    both one two three four five six"""
)
"""A noun ends the phrase that one of these begins."""

PREPOSITIONS = _words("of for with in on without at from about into as than like by between over under")
"""A noun may follow directly."""

AFTER_A_PHRASE = _words(
    """is are was were isn't aren't wasn't weren't has had have of for on in at with that which but to from when while
    than because and or as if it's comes came does doesn't did didn't can could will would without so by after
    before too seems seemed looks feels stays i i'm i've"""
)
"""What follows a noun phrase; the word before is its noun."""

BEFORE_OTHER_WORDS = _words(
    """to i you we they he she it not very so too really quite is are was be been were being am isn't wasn't aren't can
    could will would should may might must can't won't wouldn't couldn't shouldn't don't doesn't didn't do does
    did just also i'm it's they're i've you're we're always never more most how pretty super extremely who i'd
    i'll it'll they'll you'll let's please gets get got"""
)
"""What stands before verbs and adjectives, seldom before nouns."""

OBJECTS = _words("it them the my this a an me you your these us him her that our their his")
"""After one of these words begins an object: the word before is a verb."""

OPINIONS = _words(
    """good great nice excellent perfect amazing awesome wonderful fantastic beautiful lovely best better love loved
    loves like likes liked enjoy enjoyed favorite favourite happy pleased pleasant impressed impressive recommend
    fine decent solid sturdy strong durable reliable easy easily simple comfortable smooth soft clean clear crisp
    bright warm rich accurate quick fast quiet cheap affordable reasonable inexpensive expensive overpriced worth
    bad poor terrible awful horrible worst worse hate hated disappointed disappointing flimsy weak broke broken
    hard difficult heavy light lightweight thick thin loud harsh annoying useless useful handy helpful convenient
    effective gentle fresh delicious funny boring fun interesting gorgeous cute adorable stylish elegant high low
    superb outstanding superior inferior incredible unbeatable fair well perfectly nicely beautifully strongly
    greasy sticky dry refreshing subtle overpowering tight loose stiff flexible wide narrow natural fake ugly dull
    sharp clever brilliant satisfied delicate luxurious sweet fragrant tasty bland stinky silky shiny vivid
    gripping nasty gross weird nasty gross weird messy
    tedious moving"""
)
"""A sentence that has one of these near a feature says what the writer thinks of it."""

GENERIC = _words(
    """thing things stuff lot lots bit way ways kind kinds sort sorts type types number couple bunch ton tons plenty
    part parts end ends side sides rest reason reasons point points course fact example opinion addition problem
    problems issue issues difference amount item items product products amazon star stars review reviews reviewer
    reviewers one ones others other mine yours everything anything something nothing none someone anyone everyone
    anybody everybody nobody there here again well else instead past future same best least most less more first
    second third last next favorite favourite time times year years month months week weeks day days hour hours
    minute minutes seconds while awhile moment ago today tomorrow yesterday tonight night morning evening weekend
    christmas birthday people person man men woman women guy guys folks kid kids child children baby husband wife
    son daughter mother mom father dad sister brother friend friends family girl girls boy boys girlfriend
    boyfriend myself yourself itself themselves himself herself ourselves money buck bucks dollar dollars cent
    cents penny job deal idea sense chance luck doubt question questions answer word words name title thanks thank
    update edit note love hate fan choice mind matter case cases hand hands place places world country home house
    order purchase purchases buy buyer seller sellers store stores site website page company companies brand
    brands market customer customers picture pictures photo photos pic pics video videos description complaint
    complaints concern concerns surprise mistake fault hope wish need needs want wants try use uses user users
    usage experience experiences situation situations purpose purposes option options alternative alternatives
    combination comparison exception result results start finish beginning middle top bottom front back inside
    outside center left right line lines range level levels set sets pair pairs pack packs piece pieces half dozen
    dozens hundred thousand inch inches foot feet oz ounce ounces lb lbs pound pounds mm cm ft th st nd rd etc vs
    pros cons soon now then later always forever alone together apart ahead away already yet still even just only
    maybe perhaps however though although due plus per via ok okay lol wow yes no btw imo general usual normal
    total whole possible advertised described pictured expected promised stated said opposed particular special
    own new old few many several much such different better worse great good nice bad far long short big small
    large free sale gift gifts present shipping delivery package packaging box bang beat breeze crap junk hell
    heck investment bargain waste mess hassle pain trouble help effort ability attempt trip tend tendency term
    terms list load search look looks sure pro average wide black white red pink blue green brown purple yellow
    orange gold silver grey gray true real fine perfect excellent amazing awesome cheap easy hard full extra happy
    once twice everyday daily never ever also too very really quite almost enough rather especially exactly simply
    definitely absolutely probably usually anymore anyway alot age life lifetime lives decade decades summer
    winter spring fall holiday holidays season replacement version model models process information info research
    advice sample samples person's member members owner owners beginner beginners expert someone's"""
)
"""Nouns that name no property of an item, and frequent words that are taken for nouns though they are none."""

CLOSED = DETERMINERS | PREPOSITIONS | AFTER_A_PHRASE | BEFORE_OTHER_WORDS | OBJECTS
"""Words of grammar: no features."""
