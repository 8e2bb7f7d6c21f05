"""The scripts that `completion` prints: each asks `estiva __complete` and offers what that answers."""

from __future__ import annotations

BASH = """\
# bash completion of estiva: source <(estiva completion bash)
_estiva() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default; return ;;
            :folders) compopt -o dirnames; return ;;
        esac
        COMPREPLY+=("$line")
    done < <(command estiva __complete bash "$COMP_WORDBREAKS" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case ${COMPREPLY[0]-} in
        *[=:/]) compopt -o nospace ;;
    esac
}
complete -F _estiva estiva
"""

ZSH = """\
#compdef estiva
# zsh completion of estiva: _estiva in a folder of $fpath, or, after compinit, source <(estiva completion zsh)
_estiva() {
    local value text
    local -a words_ shown_ open_ opened_
    while IFS=$'\\t' read -r value text; do
        case $value in
            :files) _files; return ;;
            :folders) _files -/; return ;;
            *[=:/]) open_+=("$value"); opened_+=("$value${text:+  -- $text}") ;;
            *) words_+=("$value"); shown_+=("$value${text:+  -- $text}") ;;
        esac
    done < <(command estiva __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    (( $#words_ )) && compadd -l -d shown_ -a words_
    (( $#open_ )) && compadd -l -S '' -d opened_ -a open_
    (( $#words_ + $#open_ ))
}
if [[ $funcstack[1] == _estiva ]]; then
    _estiva "$@"
else
    compdef _estiva estiva
fi
"""

FISH = """\
# fish completion of estiva: estiva completion fish > ~/.config/fish/completions/estiva.fish
function __estiva_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command estiva __complete fish $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :folders
                __fish_complete_directories "$current" ''
            case '*'
                echo -- $line
        end
    end
end
complete -c estiva -f -a '(__estiva_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
