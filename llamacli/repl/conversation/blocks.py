'''Blocks of several lines between """ fences.'''

FENCE = '"""'


def is_open_block(text: str) -> bool:
    '''Return whether the text begins a """ block and does not end it.'''
    text = text.strip()
    return text.startswith(FENCE) and not (len(text) >= 2 * len(FENCE) and text.endswith(FENCE))


def strip_fences(text: str) -> str:
    '''Return the content of a """ block; other text without the white space around it.'''
    stripped = text.strip()
    if stripped.startswith(FENCE) and not is_open_block(stripped):
        return stripped[len(FENCE) : -len(FENCE)].strip("\n")
    return stripped
