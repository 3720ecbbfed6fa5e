"""EMContextFreeGrammar against inside–outside in torch, and against nltk's Viterbi parser."""
