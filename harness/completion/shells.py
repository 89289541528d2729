"""Scripts for shells, which ask ``harness completion words`` for the completions of a word.

That takes about half a second. Where it returns nothing, the shell completes file names.
"""

from __future__ import annotations

__all__ = ["SCRIPTS"]

BASH = r"""
_harness_words() {  # program and arguments that print completions; the last is the word itself
    local word="${@: -1}" kept="" line
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        kept="${word%%=*}="  # readline replaces only what follows the '='
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        [[ -n $line ]] || continue
        [[ $line == *[=.]* ]] || line+=" "
        COMPREPLY+=("${line#"$kept"}")
    done < <("$@" 2>/dev/null)
}
_harness() {
    local typed line="${COMP_LINE:0:COMP_POINT}"
    read -ra typed <<< "$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    _harness_words "${typed[0]}" completion words "${typed[@]:1}"
}
_harness_python() {
    local typed line="${COMP_LINE:0:COMP_POINT}" at module name
    read -ra typed <<< "$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    for ((at = 1; at < ${#typed[@]} - 1; at++)); do
        [[ ${typed[at]} == -m ]] && break
        [[ ${typed[at]} == -* ]] || at=${#typed[@]}  # a script: its own arguments follow
    done
    module="${typed[at + 1]-}"
    if ((at == ${#typed[@]} - 2)) && [[ $module == har* ]]; then
        _harness_words "${typed[0]}" -m harness.completion words ""
        COMPREPLY=("${COMPREPLY[@]/#/harness.}")
        COMPREPLY=($(compgen -W "harness ${COMPREPLY[*]}" -- "$module"))
        ((${#COMPREPLY[@]} == 1)) && COMPREPLY[0]+=" "
    elif ((at < ${#typed[@]} - 2)) && [[ $module == harness ]]; then
        _harness_words "${typed[0]}" -m harness.completion words "${typed[@]:at + 2}"
    elif ((at < ${#typed[@]} - 2)) && [[ $module == harness.* ]]; then
        name="${module#harness.}"
        _harness_words "${typed[0]}" -m harness.completion words "$name" "${typed[@]:at + 2}"
    elif [[ -n $_harness_python_before ]]; then
        "$_harness_python_before" "$@"
    fi
}
_harness_python_before="$(complete -p python 2>/dev/null | sed -n 's/.* -F \([^ ]*\).*/\1/p')"
[[ $_harness_python_before == _harness_python ]] && _harness_python_before=""
complete -o bashdefault -o default -o nospace -F _harness harness
complete -o bashdefault -o default -o nospace -F _harness_python python python3
"""

ZSH = r"""
_harness_add() {  # program and arguments that print completions
    local -a found
    found=("${(@f)$("$@" 2>/dev/null)}")
    if [[ -n $found[1] ]]; then compadd -S '' -a found; else compset -P '*='; _files; fi
}
_harness() { _harness_add $words[1] completion words "${(@)words[2,CURRENT]}" }
_harness_python() {
    local at=${words[(i)-m]}
    local module=$words[at+1] rest=("${(@)words[at+2,CURRENT]}")
    if (( at + 1 < CURRENT )) && [[ $module == harness ]]; then
        _harness_add $words[1] -m harness.completion words "${(@)rest}"
    elif (( at + 1 < CURRENT )) && [[ $module == harness.* ]]; then
        _harness_add $words[1] -m harness.completion words ${module#harness.} "${(@)rest}"
    else
        _python "$@"
    fi
}
compdef _harness harness
compdef _harness_python python python3
"""

FISH = r"""
function __harness_words
    set -l typed (commandline -opc) (commandline -ct)
    if test (basename $typed[1]) = harness
        $typed[1] completion words $typed[2..] 2>/dev/null
    else if set -l at (contains -i -- -m $typed); and test (count $typed) -gt (math $at + 1)
        set -l module $typed[(math $at + 1)]
        set -l rest $typed[(math $at + 2)..]
        switch $module
            case harness
                $typed[1] -m harness.completion words $rest 2>/dev/null
            case 'harness.*'
                set -l name (string replace harness. '' $module)
                $typed[1] -m harness.completion words $name $rest 2>/dev/null
        end
    end
end
complete -c harness -a '(__harness_words)'
complete -c python -a '(__harness_words)'
complete -c python3 -a '(__harness_words)'
"""

SCRIPTS = {"bash": BASH.strip(), "zsh": ZSH.strip(), "fish": FISH.strip()}
