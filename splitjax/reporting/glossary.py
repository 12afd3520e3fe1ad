"""Words of the page and what they mean; `docs/glossary.md` says the same."""

from __future__ import annotations

import re
from html import escape

from markupsafe import Markup
from markupsafe import escape as escaped

WORDS = {
    "domain": "A part of the corpus, by its label or by a cluster of documents.",
    "mixture": "All domains together, in proportion to their tokens unless set otherwise.",
    "seed": "The shared model before the split. (A training seed: the number behind initialisation and order of data.)",
    "trunk": "Training that several models share: done once, up to where they part.",
    "split": "One model copied K times; each copy goes on with one domain. 40 % means: after 40 % of the budget.",
    "expert": "One of the K copies, specialised on its domain.",
    "dense": "One model, trained on the mixture to the end: nothing is split.",
    "80/20": "The customary split: 80 % of the budget on the mixture, the rest on experts.",
    "planned": "The model that was split where the plan says, before the main run began.",
    "corner": "A best split at an end: at 0 % experts are trained from the start, at 100 % nothing is split.",
    "budget": "T, the tokens to spend: D + K·D′ over all models (accounting total), or D + D′ seen by each one "
              "(per_model).",
    "equal compute": "Models that were compared with the same training FLOPs, all experts counted.",
    "law": "A formula L(N, D, D′) for the loss, fitted to small runs: N parameters without embeddings, D mixture "
           "tokens, D′ domain tokens of an expert.",
    "family": "A form of the law. Several are fitted; those that predict larger runs well are combined.",
    "near": "Close to the small runs in N, D and D′: there the law is corrected by its own misses; far away the "
            "interval allows for them.",
    "interval": "90 % of the draws of the law lie in it. A draw is a law fitted anew to redrawn noise.",
    "held out": "Text or runs that were kept from training or fitting, to score on.",
    "router": "What picks the expert for a text of unknown domain, from its first tokens.",
    "routed": "Each text under the expert that the router picks; the tokens that it reads are not scored.",
    "prefix": "The first tokens of a text, which a router reads.",
    "label known": "Each text under the expert of its own domain: better than any router can be sure to do.",
    "perplexity": "e to the loss: among how many tokens, all as likely, the model hesitates. Lower is better.",
    "nats": "The unit of the loss, by natural logarithms. 0.01 nats are 1 % of perplexity.",
    "bits a byte": "The loss by byte of text, which does not depend on the tokenizer.",
    "epochs": "How often a model has gone through the text of a domain.",
    "mre": "Mean relative error: by how much the law is off, as a share of the loss.",
    "goodput": "The share of the training time that went into steps that count.",
    "FLOPs": "Floating-point operations of training: the price of a run, whatever the machine.",
    "±": "One standard error over test windows, paired: both models score the same text. Another training seed is not "
         "in it: a second ± tells that, where train.seeds is more than 1.",
}
_FORMS = {"experts": "expert", "domains": "domain", "families": "family", "routers": "router", "corners": "corner",
          "splits": "split", "trunks": "trunk", "held-out": "held out"}
_ALL = sorted([*WORDS, *_FORMS], key=len, reverse=True)
_FOUND = re.compile("|".join(rf"(?<![\w/-]){re.escape(escape(word))}(?![\w/-])" for word in _ALL))


def explained(text: object) -> Markup:
    """Text with its known words told at the first place of each: they show what they mean, and lead to the glossary.

    A number keeps its per cent sign on its line.
    """
    seen: set[str] = set()

    def told(found: re.Match[str]) -> str:
        word = _FORMS.get(found[0], found[0])
        if word in seen:
            return found[0]
        seen.add(word)
        return f'<a class="word" href="#{anchor(word)}" title="{escape(WORDS[word])}">{found[0]}</a>'

    return Markup(re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", _FOUND.sub(told, str(escaped(text)))))


def listed() -> list[tuple[str, str, str]]:
    """(word, where a page has it, meaning) of each."""
    return [(word, anchor(word), text) for word, text in WORDS.items()]


def anchor(word: str) -> str:
    """Where the glossary of a page has it."""
    return "word-" + re.sub(r"\W+", "-", word.replace("±", "pm").replace("/", "-")).lower()
