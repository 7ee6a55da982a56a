# What both lists of mutants share: how a list is read, and how a mutant is put into its file.

# split_mutants LIST FOLDER: one folder a mutant, with a file for each word of the list, and old.N and
# new.N for its N-th text.
split_mutants() {
    rm -rf "$2" && mkdir -p "$2"
    perl -e '
        my ($list, $to, $n, $part) = (@ARGV, 0, "");
        sub put { my ($file, $text) = @_; open(my $h, ">", "$to/$id/$file") or die; print $h $text; close $h }
        open(my $lines, "<", $list) or die "$list: $!\n";
        while (my $line = <$lines>) {
            if    ($part eq "" && $line =~ /^mutant\s+(\S+)$/) { $id = sprintf("%03d-%s", ++$n, $1); $texts = 0; mkdir "$to/$id"; put("name", $1) }
            elsif ($part eq "" && $line =~ /^(guard|by|says|file)\s+(.*\S)\s*$/) { put($1, $2) }
            elsif ($part eq "" && $line eq "<<<<\n") { ($part, $old, $new) = ("old", "", "") }
            elsif ($part eq "old" && $line eq "====\n") { $part = "new" }
            elsif ($part eq "new" && $line eq ">>>>\n") { chomp $old; chomp $new; $texts++; put("old.$texts", $old); put("new.$texts", $new); $part = "" }
            elsif ($part eq "old") { $old .= $line }
            elsif ($part eq "new") { $new .= $line }
            elsif ($line !~ /^\s*(#.*)?$/) { die "$list: not understood: $line" }
        }
        die "$list: $id does not end\n" if $part ne "";
    ' "$1" "$2"
}

# choose_mutants FOLDER NAME…: the folders of these mutants, or of all, into `chosen`.
choose_mutants() {
    local folder="$1" mutant name
    shift
    chosen=()
    for mutant in "$folder"/*; do
        name="$(cat "$mutant/name")"
        if [ $# -eq 0 ] || [[ " $* " == *" $name "* ]]; then chosen+=("$mutant"); fi
    done
    [ "${#chosen[@]}" -gt 0 ] || { echo "error: there are no such mutants" >&2; exit 2; }
}

# mutate MUTANT FILE: puts the mutant into its file; fails unless each text is there exactly once.
mutate() {
    perl -0777 -e '
        my ($mutant, $to) = @ARGV;
        sub slurp { open(my $h, "<", $_[0]) or die "$_[0]: $!\n"; local $/; my $t = <$h>; defined $t ? $t : "" }
        my $text = slurp($to);
        for (my $n = 1; -e "$mutant/old.$n"; $n++) {
            my ($old, $new) = (slurp("$mutant/old.$n"), slurp("$mutant/new.$n"));
            my $found = () = $text =~ /\Q$old\E/g;
            die "its text is there $found times\n" unless $found == 1;
            $text =~ s/\Q$old\E/$new/;
        }
        open(my $h, ">", $to) or die; print $h $text;
    ' "$1" "$2"
}
